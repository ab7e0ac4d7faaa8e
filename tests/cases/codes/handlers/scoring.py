LIMIT = 100


def score(payload: object) -> object:
    return payload

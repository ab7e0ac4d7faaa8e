LIMIT = 100


def score(payload):
    return payload

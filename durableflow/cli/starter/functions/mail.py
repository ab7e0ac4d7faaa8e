"""What `mail-send` is when workflows run on this machine: a Lambda handler that only pretends."""


def send(event: dict[str, str], context: object) -> dict[str, bool]:
    print(f"to {event['to']}: {event['text']}")
    return {"sent": True}

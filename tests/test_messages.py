"""The wording of messages, which other tests compare with tests/messages.yaml."""

import json
import re


def test_every_expected_message_is_used_by_a_test(repository, expected_messages):
    """A name occurs as a string literal, or matches an f-string in a call of `message`."""
    source = "\n".join(path.read_text() for path in sorted((repository / "tests").rglob("*.py")))
    templates = re.findall(r'\bmessage\(\s*f"([^"]+)"', source)
    patterns = [".+".join(map(re.escape, re.split(r"{.+?}", text))) for text in templates]

    unused = [
        name
        for name in expected_messages
        if json.dumps(name, ensure_ascii=False) not in source
        and not any(re.fullmatch(pattern, name) for pattern in patterns)
    ]

    assert unused == []

from __future__ import annotations

import base64
import random
import secrets
import uuid
from pathlib import Path

import pytest

from pondflight.errors import ConfigError
from pondflight.settings import load
from pondflight.settings.secret import weakness
from tests.settings.support import SECRET, Problems


@pytest.mark.parametrize(
    ("content", "expected"),
    [(SECRET, SECRET), (SECRET + "\n", SECRET), (SECRET + "\r\n", SECRET), (f" {SECRET}", None)],
)
def test_secret_is_read_from_a_file_without_its_last_newline(
    tmp_path: Path, content: str, expected: str | None
) -> None:
    path = tmp_path / "secret"
    path.write_text(content, "utf-8", newline="")
    secret = load(None, {"JWT_SECRET_FILE": str(path)}).security.jwt_secret
    assert secret is not None
    assert secret.get_secret_value() == (expected or content)


def test_secret_in_a_file_is_as_strong_as_in_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("short\n")
    with pytest.raises(ConfigError) as caught:
        load(None, {"JWT_SECRET_FILE": str(path)})
    (problem,) = caught.value.problems
    assert problem.startswith(
        "JWT_SECRET: *** has 5 characters, which is too short (from the file that JWT_SECRET_FILE"
        " names); accepted: at least 32 random characters"
    )


@pytest.mark.parametrize("secret", ["", "  ", "hunter2", "changeme" * 8, "a" * 40])
def test_weak_secret_refuses_to_load_and_is_not_shown(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"JWT_SECRET": secret})
    (problem,) = caught.value.problems
    assert problem.startswith("JWT_SECRET: *** ")
    assert not secret.strip() or secret not in problem


def test_secret_set_in_two_ways_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="JWT_SECRET and JWT_SECRET_FILE are both set"):
        load(None, {"JWT_SECRET": SECRET, "JWT_SECRET_FILE": str(tmp_path / "secret")})


def test_secret_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"JWT_SECRET_FILE: .* cannot be read: No such file"):
        load(None, {"JWT_SECRET_FILE": str(tmp_path / "secret")})
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff" * 40)
    with pytest.raises(ConfigError, match=r"JWT_SECRET_FILE: .* is not a text file in UTF-8"):
        load(None, {"JWT_SECRET_FILE": str(binary)})


@pytest.mark.parametrize(
    "text",
    [
        f"jwt_secret: {SECRET}",
        f"JWT_SECRET: {SECRET}",
        f"security: {{jwt_secret: {SECRET}}}",
        f"security: {{jwtSecret: {SECRET}}}",
        f"server: {{jwt_secret: {SECRET}}}",
    ],
)
def test_secret_in_a_file_is_an_error_that_points_to_the_environment(
    problems: Problems, text: str
) -> None:
    (problem,) = problems(text)
    assert (
        "does not belong in a file (from FILE): set the environment variable JWT_SECRET" in problem
    )
    assert SECRET not in problem


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("", "has 0 characters"),
        ("k3jh4k5jh3k4j5h3k4jh5kj3h4k5jh3", "has 31 characters"),
        ("ü" * 16, "has 16 characters"),
        ("a" * 64, "fewer than 8 different"),
        ("abababababababababababababababab", "fewer than 8 different"),
        ("0123456789abcdef0123456789abcdef", "pattern"),
        ("d8f2k9sld8f2k9sld8f2k9sld8f2k9sld8", "pattern"),
        ("abcdefghijklmnopqrstuvwxyz012345", "pattern"),
        ("zyxwvutsrqponmlkjihgfedcba987654", "pattern"),
        ("changeme-changeme2changeme3changeme4", "sample value"),
        ("your-256-bit-secret-goes-here-please", "sample value"),
        ("your-super-secret-jwt-key-change-in-production-min-32-chars", "sample value"),
        ("your-secret-key-must-be-at-least-32-characters-long", "sample value"),
        ("Please_Change_This_Secret_In_Production!", "sample value"),
        ("this-is-a-very-long-test-secret-for-development", "sample value"),
        ("PASSWORD1234567890password0987654321", "sample value"),
        ("qwertyuiopasdfghjklzxcvbnm1234567890", "sample value"),
    ],
)
def test_secret_that_can_be_guessed_is_refused(secret: str, why: str) -> None:
    reason = weakness(secret)
    assert reason is not None
    assert why in reason
    assert not secret or secret not in reason


def random_secrets() -> list[str]:
    dice = random.Random(7)
    return [
        *(base64.b64encode(dice.randbytes(32)).decode() for _ in range(2000)),
        *(dice.randbytes(16).hex() for _ in range(2000)),
        *(f"{uuid.UUID(bytes=dice.randbytes(16))}" for _ in range(2000)),
        secrets.token_urlsafe(32),
        secrets.token_hex(32),
        "correct horse battery staple giraffe umbrella",
        "ein-langer-Satz-den-sich-niemand-ausdenkt-7",
    ]


def test_secret_from_a_random_source_is_accepted() -> None:
    assert [secret for secret in random_secrets() if weakness(secret) is not None] == []

"""The findings of ``pondflight doctor``, and their formats."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question; ``advice`` says what to do, if anything."""

    check: str
    verdict: Verdict
    message: str
    advice: str = ""


def ok(check: str, message: str) -> Finding:
    """Return a finding that everything is in order."""
    return Finding(check, Verdict.OK, message)


def warning(check: str, message: str, advice: str = "") -> Finding:
    """Return a finding that does not stop pondflight, but that operators should know."""
    return Finding(check, Verdict.WARNING, message, advice)


def failure(check: str, message: str, advice: str = "") -> Finding:
    """Return a finding that keeps pondflight from working."""
    return Finding(check, Verdict.FAILURE, message, advice)


def skipped(check: str, message: str) -> Finding:
    """Return a finding for a check that was skipped, with the reason."""
    return Finding(check, Verdict.SKIPPED, message)


def as_text(finding: Finding) -> str:
    """Format one finding as text for a terminal."""
    text = f"{finding.verdict:<8} {finding.check}: {finding.message}"
    return f"{text}\n         -> {finding.advice}" if finding.advice else text


def as_json(findings: Iterable[Finding]) -> str:
    """Format all findings as JSON."""
    rows = [asdict(finding) for finding in findings]
    return json.dumps({"ok": all_well(findings), "checks": rows}, indent=2)


def all_well(findings: Iterable[Finding]) -> bool:
    """Return whether no finding is a failure."""
    return all(finding.verdict is not Verdict.FAILURE for finding in findings)

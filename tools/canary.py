"""What tools/tidy, check_layers and check_status_codes share: printing what they
found, and proving that they can find it.

tools/canary/ is a small project of files that each break a rule.
tools/canary/expected.NAME lists what a tool must find there, `path: rule` a
line. A tool that finds less has gone blind; one that finds more is wrong."""
import collections
import sys


def main(name, findings, root):
    if sys.argv[1:] == ["--canary"]:
        return _prove(name, findings, root / "tools" / "canary")
    if sys.argv[1:]:
        print(f"usage: {sys.argv[0]} [--canary]", file=sys.stderr)
        return 64
    found = list(findings(root))
    for path, line, rule, text in found:
        print(f"{path}:{line}: {text} [{rule}]")
    return 1 if found else 0


def _prove(name, findings, folder):
    found = collections.Counter(f"{path}: {rule}" for path, _, rule, _ in findings(folder))
    expected = collections.Counter((folder / f"expected.{name}").read_text().splitlines())
    for text in sorted((expected - found).elements()):
        print(f"not found any more: {text}")
    for text in sorted((found - expected).elements()):
        print(f"found, though nothing is wrong: {text}")
    return 1 if found != expected else 0

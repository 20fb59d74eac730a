"""What pytest needs to know: the folder for imports, and the marks."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; only in `make check-long`")

"""An engine for the tests that need one, from the first of them to the end of the run."""

import pytest

from . import engine as engines


@pytest.fixture(scope="session")
def docker():
    why = engines.missing()
    if why:
        pytest.skip(f"skipped, because {why}")
    yield engines.engine()
    engines.engine().stop()


@pytest.fixture(scope="session")
def image(docker):
    return engines.image()

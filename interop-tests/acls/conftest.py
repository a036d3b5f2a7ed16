"""A broker with an authorizer."""

import pytest

from .client import with_authorizer


@pytest.fixture(scope="module")
def b():
    b = with_authorizer()
    try:
        b.start()
        yield b
    finally:
        b.destroy()

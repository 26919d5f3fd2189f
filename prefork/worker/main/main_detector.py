"""Detect ``main(listener)``: one required argument, or ``*listeners``."""

from prefork.worker.callable_shape import CallableShape
from prefork.worker.interface import Detector, Fit


class MainDetector(Detector):
    """Detects apps that accept their connections themselves."""

    arguments = "main(listener) takes one"

    @staticmethod
    def match(shape: CallableShape) -> Fit | None:
        """Return why a callable that takes one listener, or any number of them, fits."""
        fits = shape.required == 1 or (shape.required == 0 and shape.has_star)
        return Fit(str(shape)) if fits else None

    @staticmethod
    def names_match(outer: CallableShape, inner: CallableShape) -> bool:  # noqa: ARG004
        """Return whether the one argument is called a listener or a socket."""
        if inner.required == 1:
            return any(word in inner.names[0].lower() for word in ("listen", "sock"))
        return inner.required == 0

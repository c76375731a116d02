"""Ridge regression with an intercept, and what its errors are on samples it has not seen."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ridge:
    """y = mean_y + (x - mean_x) w, of the w that minimizes |y - prediction|^2 + lambda |w|^2.

    mean_x, weights: [D]. sigma: root of the mean squared leave-one-out error, the spread of the
    truth about a prediction for a sample that was not fitted.
    """

    mean_x: np.ndarray
    mean_y: float
    weights: np.ndarray
    sigma: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        """[N, D] -> [N]."""
        return self.mean_y + (x - self.mean_x) @ self.weights


def fit_ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> Ridge:
    """x: [N, D], D may be 0; y: [N]; penalty: lambda > 0.

    Leave-one-out errors without refitting: residual / (1 - leverage) (Allen's PRESS, 1974).
    """
    if len(x) < 2:
        raise ValueError(f"{len(x)} samples; at least 2")
    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = x.mean(axis=0), y.mean()
    centered = x - mean_x
    inverse = np.linalg.inv(centered.T @ centered + penalty * np.eye(x.shape[1]))
    weights = inverse @ centered.T @ (y - mean_y)
    leverage = 1 / len(x) + np.einsum("nd,de,ne->n", centered, inverse, centered)
    left_out = (y - mean_y - centered @ weights) / (1 - leverage)
    return Ridge(mean_x, float(mean_y), weights, float(np.sqrt(np.square(left_out).mean())))

"""The projection of iterative quantization (ITQ; Gong & Lazebnik, CVPR 2011), in NumPy."""

import numpy as np
from threadpoolctl import threadpool_limits


def itq_projection(
    centred: np.ndarray, bits: int, seed: int = 50, iterations: int = 50, update: str = "procrustes"
) -> np.ndarray:
    """(d, bits) float64: PCA and rotation fitted on centred rows (n, d) float64; the codes of rows are rows @ projection > 0."""
    # one BLAS thread: more are slower on these small matrices, and the codes must not depend on their number
    with threadpool_limits(1, user_api="blas"):
        components = _principal_components(centred, bits, fix_signs=update == "procrustes")
        return components @ _rotation(centred @ components, seed, iterations, update)


def _principal_components(centred: np.ndarray, bits: int, fix_signs: bool) -> np.ndarray:
    """(d, bits): eigenvectors of the covariance, largest variance first."""
    # np.cov and the upper triangle, because the released update depends on the signs that they lead to
    covariance = np.atleast_2d(np.cov(centred.T, ddof=1 if len(centred) > 1 else 0))
    variances, vectors = np.linalg.eigh(covariance, UPLO="U")
    components = vectors[:, np.argsort(variances)[::-1][:bits]]
    if fix_signs:
        largest = components[np.abs(components).argmax(0), np.arange(bits)]
        components = components * np.where(largest < 0, -1.0, 1.0)
    return components


def _rotation(projected: np.ndarray, seed: int, iterations: int, update: str) -> np.ndarray:
    """Orthogonal (bits, bits) that turns the projected rows towards the corners of the hypercube."""
    bits = projected.shape[1]
    rotation, _, _ = np.linalg.svd(np.random.RandomState(seed).randn(bits, bits))
    signs = np.empty_like(projected)  # reused: new memory for each iteration would cost as much as the arithmetic
    for _ in range(iterations):
        np.matmul(projected, rotation, out=signs)
        signs += 0.0  # no negative zero: the sign of 0 is +1
        np.copysign(1.0, signs, out=signs)
        left, _, right_t = np.linalg.svd(signs.T @ projected)
        rotation = (right_t if update == "released" else right_t.T) @ left.T
    return rotation

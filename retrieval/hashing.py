"""Binary codes by iterative quantization (ITQ; Gong & Lazebnik, CVPR 2011) of the query and gallery embeddings."""

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from utils.errors import InputError

FITS = ("queries", "gallery", "train")


def itq_codes(query, gallery, bits, seed=50, iterations=50, update="released", fit="queries", training=None):
    """Codes of both sets: query (n, d), gallery (m, d) real -> bool (n, bits), bool (m, bits), on the CPU.

    Each set is centred on its own mean. PCA is fitted on the queries (top `bits` components); a rotation of the
    projected queries is iterated from a seeded random one; bit = value > 0. Inside, float64 NumPy. n < d and bits above
    the rank of the data are fine. Raises InputError on bits > d, sets that do not fit together, NaN or infinity.

    update: how the rotation R follows from the singular vectors of signsᵀ·projected = U S Vᵀ.
      "released"    R = Vᵀ Uᵀ, as in the code SAKE and DSN published their figures with (seed 50, as there). NumPy's
                    third factor is Vᵀ already, so this is not the paper's step: quantization error does not fall, R
                    stays as good as random. It also depends on the signs of singular vectors, hence on the LAPACK
                    build: the same codes each time on one machine, possibly others (equally good) on another.
      "procrustes"  R = V Uᵀ, the paper's step: error falls each time. Signs of the PCA columns are fixed, and R does
                    not depend on LAPACK's choice of signs.

    fit: what PCA and rotation are fitted on.
      "queries"  as published; a query's code depends on the other queries.
      "gallery"  the gallery, so that queries can come one by one but for their mean.
      "train"    training = (features like the queries (a, d), features like the gallery (b, d)), of seen classes: each
                 is centred on its own mean, both together are fitted, and queries and gallery are centred on those
                 means. Nothing of the test enters the codes, unless training photos stand in the gallery as well.
    """
    training = training if fit == "train" else ()
    sets = {"query": query, "gallery": gallery, **dict(zip(("training query", "training gallery"), training, strict=False))}
    _check(sets, bits, update, fit)
    arrays = [_finite(name, array) for name, array in sets.items()]
    means = [array.mean(axis=0, keepdims=True) for array in arrays]
    if fit == "train":
        means[:2] = means[2:]
    query, gallery, *training = (array - mean for array, mean in zip(arrays, means, strict=True))
    fitted = {"queries": query, "gallery": gallery}[fit] if fit != "train" else np.concatenate(training)
    if len(fitted) < bits:
        print(f"note: {bits}-bit codes fitted on {len(fitted)} rows say little; fit them on more")
    projection = itq_projection(fitted, bits, seed, iterations, update)
    return torch.from_numpy(query @ projection > 0), torch.from_numpy(gallery @ projection > 0)


def itq_projection(centred, bits, seed=50, iterations=50, update="procrustes"):
    """(d, bits) float64: PCA and rotation fitted on centred rows (n, d) float64; the codes of others are row @ projection > 0."""
    # one BLAS thread: on these small matrices more are slower, many times so on a busy machine, and the codes must not
    # depend on how many there are
    with threadpool_limits(1, user_api="blas"):
        components = _principal_components(centred, bits, fix_signs=update == "procrustes")
        return components @ _rotation(centred @ components, seed, iterations, update)


def _principal_components(centred, bits, fix_signs):
    """(d, bits): eigenvectors of the covariance, largest variance first."""
    # np.cov and the upper triangle because the released update is sensitive to the signs that come of them
    covariance = np.atleast_2d(np.cov(centred.T, ddof=1 if len(centred) > 1 else 0))
    variances, vectors = np.linalg.eigh(covariance, UPLO="U")
    components = vectors[:, np.argsort(variances)[::-1][:bits]]
    if fix_signs:
        largest = components[np.abs(components).argmax(0), np.arange(bits)]
        components = components * np.where(largest < 0, -1.0, 1.0)
    return components


def _rotation(projected, seed, iterations, update):
    """Orthogonal (bits, bits) that turns the projected rows towards the corners of the hypercube."""
    bits = projected.shape[1]
    rotation, _, _ = np.linalg.svd(np.random.RandomState(seed).randn(bits, bits))
    for _ in range(iterations):
        signs = np.where(projected @ rotation >= 0, 1.0, -1.0)
        left, _, right_t = np.linalg.svd(signs.T @ projected)
        rotation = (right_t if update == "released" else right_t.T) @ left.T
    return rotation


def _check(sets, bits, update, fit):
    if update not in ("released", "procrustes"):
        raise InputError(f"ITQ update {update!r} is unknown; use 'released' or 'procrustes'")
    if fit not in FITS or (fit == "train" and len(sets) != 4):
        raise InputError(f"ITQ fit {fit!r} is unknown, or without training features; use one of {', '.join(FITS)}")
    for name, array in sets.items():
        if array.ndim != 2 or len(array) == 0:
            raise InputError(f"{name} has shape {tuple(array.shape)}; give one row per image: (n, d), n > 0")
    width = sets["query"].shape[1]
    for name, array in sets.items():
        if array.shape[1] != width:
            raise InputError(f"query rows have {width} numbers, {name} rows {array.shape[1]}; embed both with one model")
    if not 1 <= bits <= width:
        raise InputError(f"{bits} bits asked of {width} numbers a row; ask for 1 to {width} bits")


def _finite(name, array):
    values = array.detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds NaN or infinity; look at the model or file that made it")
    return values

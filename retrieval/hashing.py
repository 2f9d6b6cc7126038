"""Binary codes by iterative quantization (ITQ; Gong & Lazebnik, CVPR 2011) of the query and gallery embeddings."""

import numpy as np

from retrieval.itq import itq_projection
from retrieval.names import FITS, UPDATES
from retrieval.ranking import Array, as_numpy, check_sets
from utils.errors import InputError


def itq_codes(
    query: Array,
    gallery: Array,
    bits: int,
    seed: int = 50,
    iterations: int = 50,
    update: str = "released",
    fit: str = "queries",
    training: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Codes of both sets: query (n, d), gallery (m, d) real → bool (n, bits), bool (m, bits); 1 <= bits <= d.

    The sets are NumPy arrays or torch tensors; the codes are what `query` is, on its device.

    Each set is centred on its own mean. PCA gives the top `bits` components; a rotation of the projected rows is iterated from
    a seeded random one; bit = value > 0. Computed in float64 NumPy. n < d and bits above the rank of the data are fine.

    update: the next rotation R, from the singular vectors of signsᵀ·projected = U S Vᵀ.
      "released"    R = Vᵀ Uᵀ, as in the public code of SAKE and DSN (seed 50, as there). NumPy's third factor is Vᵀ already, so
                    this is not the paper's step: the quantization error does not fall. The codes depend on the signs of singular
                    vectors, hence on the LAPACK build: equal on one machine, possibly others (equally good) on another.
      "procrustes"  R = V Uᵀ, the paper's step: the error falls each time. The signs of the PCA columns are fixed.

    fit: the rows that PCA and rotation are fitted on.
      "queries"  as published; the code of a query depends on the other queries.
      "gallery"  the code of a query depends on the other queries by their mean only.
      "train"    training = (features like the queries (a, d), features like the gallery (b, d)) of seen classes, each centred on
                 its own mean; queries and gallery are centred on these means. No test image affects the codes of others.

    Raises InputError on bits out of range, sets that do not fit together, NaN or infinity.
    """
    if update not in UPDATES:
        raise InputError(f"ITQ update {update!r} is unknown; use 'released' or 'procrustes'")
    if fit not in FITS or (fit == "train" and not training):
        raise InputError(f"ITQ fit {fit!r} is unknown, or without training features; use one of {', '.join(FITS)}")
    sets = {"query": query, "gallery": gallery}
    if fit == "train" and training:
        sets |= {"training query": training[0], "training gallery": training[1]}
    check_sets("euclidean", **sets)
    if not 1 <= bits <= query.shape[1]:
        raise InputError(f"{bits} bits from {query.shape[1]} numbers per row; choose 1 to {query.shape[1]} bits")
    arrays = [as_numpy(array).astype(np.float64, copy=False) for array in sets.values()]
    means = [array.mean(axis=0, keepdims=True) for array in arrays]
    if fit == "train":
        means[:2] = means[2:]
    queries, photos, *seen = (array - mean for array, mean in zip(arrays, means, strict=True))
    fitted = np.concatenate(seen) if fit == "train" else queries if fit == "queries" else photos
    if len(fitted) < bits:
        print(f"note: {bits}-bit codes fitted to only {len(fitted)} rows; fit them to more")
    projection = itq_projection(fitted, bits, seed, iterations, update)
    codes = queries @ projection > 0, photos @ projection > 0
    if isinstance(query, np.ndarray):
        return codes
    import torch

    return torch.from_numpy(codes[0]).to(query.device), torch.from_numpy(codes[1]).to(query.device)

"""Values of options that rank and score features. Imports nothing: --help is fast."""

UPDATES = ("released", "procrustes")  # of ITQ's rotation: --itq
FITS = ("queries", "gallery", "train")  # what ITQ is fitted on: --itq_fit
TIES = ("stable", "average")  # order at equal distance: --ties

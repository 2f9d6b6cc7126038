"""Checkpoints and initial weights → the network of an index."""

import re
from pathlib import Path

from models.embedding import EmbeddingNetwork, embedding_network, trained_preprocessing
from models.engine import BF16, FLOAT32, Engine, LazyEngine
from models.engines import KeptIn, open_engine
from models.names import DOWNLOAD
from models.openvino_engine import can_keep
from models.restore import recorded_image_size, require_arch, restore_student, weights_digest
from models.trunks import initial_trunk
from photo_search.network import DEFAULT, Computing, Network, precision_on_cpu
from utils.devices import choose_device, has_native_bf16

POSITIONS = re.compile("(?<![a-z])pos(ition)?(?![a-z])")  # pos_embed, rel_pos_bias, relative_position_index; not post_norm


def _engine(network: EmbeddingNetwork, digest: str, computing: Computing) -> Engine:
    """An engine that starts when it is first used."""
    device = choose_device(computing.device)
    if device.type == "cpu":
        precision = precision_on_cpu(computing.precision)
    else:
        native = BF16 if has_native_bf16(device) else FLOAT32
        precision = native if computing.precision == "auto" else computing.precision

    def start() -> Engine:
        kept = KeptIn(computing.folder, digest) if computing.folder and can_keep(computing.folder) else None
        return open_engine(network, device, precision, kept, None if kept else computing.images)

    return LazyEngine(network.width, network.preprocessing, start)


def open_network(
    checkpoint: Path, computing: Computing = DEFAULT, image_size: int | None = None, arch: str | None = None
) -> Network:
    """A trained network. image_size None: as the checkpoint records, else the trunk's own. arch: its trunk, if that must be one.

    Raises InputError as `restore_student`, `trained_preprocessing` and `require_arch` do.
    """
    student, content = restore_student(checkpoint, None)
    require_arch(student.original_model, arch, checkpoint)
    embedding = embedding_network(student, trained_preprocessing(student, recorded_image_size(content), image_size))
    digest = weights_digest(student)
    engine = _engine(embedding, digest, computing)
    return Network(engine, digest, str(checkpoint.resolve()), licence=student.original_model.licence)


def open_untrained(arch: str, weights: str, computing: Computing = DEFAULT, image_size: int | None = None) -> Network:
    """A trunk's pooled feature, with initial weights from a file or `imagenet` (download); image_size None: the trunk's own.

    Raises InputError as `initial_trunk` does.
    """
    trunk = initial_trunk(arch, weights, image_size)
    # resampled for another image size, position embeddings are not the same to the last bit on every machine
    digest = weights_digest(trunk, leave_out=POSITIONS)
    engine = _engine(EmbeddingNetwork(trunk, trunk.preprocessing), digest, computing)
    place = weights if weights == DOWNLOAD else str(Path(weights).resolve())
    return Network(engine, digest, place, untrained=arch, licence=trunk.licence)

"""The domain tag, and which parameters each value of --train trains."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from datasets.preprocessing import Preprocessing
from models.batchnorm import synchronise_batchnorm
from models.cse_resnet import CSEResNet50
from models.dsn import Student
from models.names import HEADS, NONE, NORMS, PHOTO, SKETCH
from models.timm_trunk import TimmTrunk
from models.timm_weights import load_network
from models.trainable import choose_trainable
from training.build import adam

NAMES = ["test_vit", "test_vit3", "test_convnext", "test_resnet"]
HEAD_KEYS = ("linear.", "original_model.second_last_linear.", "original_model.last_linear.")
DOMAINS = torch.tensor([SKETCH, PHOTO])


def trunk_of(name: str, domain_tag: bool = True) -> TimmTrunk:
    torch.manual_seed(0)
    network = load_network(name, 160, NONE).network
    return TimmTrunk(name, network, Preprocessing(160), domain_tag)


def pair() -> torch.Tensor:
    """The same image twice."""
    return torch.randn(1, 3, 160, 160, generator=torch.Generator().manual_seed(1)).expand(2, -1, -1, -1)


def trained(student: Student, which: str, steps: int = 2, weight_decay: float = 0.1) -> dict[str, torch.Tensor]:
    """The change of each value of the state dict in a few steps on images of both domains."""
    before = {key: value.clone() for key, value in student.state_dict().items()}
    choose_trainable(student.train(), which)
    optimizer = adam(student, lr=0.1, weight_decay=weight_decay)
    for _ in range(steps):
        output = student.train()(pair() + torch.randn(2, 3, 160, 160) / 9, DOMAINS)
        # the class head has no part in it: Adam's weight decay alone moves it
        loss = (output.embedding[0] - output.embedding[1]).square().sum() + output.teacher_space_logits.square().sum()
        optimizer.zero_grad()
        (loss + 0 * output.class_logits.sum()).backward()
        optimizer.step()
    return {key: value - before[key] for key, value in student.state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_new_domain_tag_changes_nothing_and_a_trained_one_does(name):
    trunk, plain = trunk_of(name).eval(), trunk_of(name, domain_tag=False).eval()
    assert not [key for key in plain.state_dict() if "domain_tag" in key]
    with torch.no_grad():
        assert torch.equal(trunk.features(pair(), DOMAINS), plain.features(pair(), DOMAINS))
    student = Student(4, 3, teacher_classes=5, trunk=trunk)
    trained(student, NORMS)
    with torch.no_grad():
        sketch, photo = student.eval().original_model.features(pair(), DOMAINS)
        swapped, _ = trunk.features(pair(), DOMAINS.flip(0))
    assert (sketch - photo).abs().max() > 1e-4
    torch.testing.assert_close(swapped, photo)


@pytest.mark.parametrize("name", NAMES)
def test_norms_trains_normalisation_layers_domain_tag_and_heads(name):
    student = Student(4, 3, teacher_classes=5, trunk=trunk_of(name))
    inside = {
        key for key, layer in student.named_modules() if type(layer).__name__ in ("LayerNorm", "LayerNorm2d", "BatchNorm2d")
    }
    changed = {key for key, change in trained(student, NORMS).items() if change.any()}
    for key in changed:
        assert key.startswith(HEAD_KEYS) or ".domain_tag." in key or key.rpartition(".")[0] in inside, key
    for key, parameter in student.named_parameters():
        is_norm = key.rpartition(".")[0] in inside
        assert parameter.requires_grad == (is_norm or key.startswith(HEAD_KEYS) or ".domain_tag." in key), key
    assert any(key.rpartition(".")[0] in inside for key in changed) and any(".domain_tag." in key for key in changed)


@pytest.mark.parametrize("name", NAMES)
def test_heads_trains_the_heads_and_no_statistics(name):
    student = Student(4, 3, teacher_classes=5, trunk=trunk_of(name))
    changed = {key for key, change in trained(student, HEADS).items() if change.any()}
    assert changed and all(key.startswith(HEAD_KEYS) for key in changed)


@pytest.mark.slow
@pytest.mark.parametrize("which", [NORMS, HEADS])
def test_of_the_first_trunks_attention_norms_trains_the_column_of_the_domain(which):
    torch.manual_seed(0)
    student = Student(4, 3, teacher_classes=5)
    columns = 0
    for key, change in trained(student, which, steps=1).items():
        if "fc2.weight" in key:
            assert not change[:, :-1].any(), key
            columns += bool(change[:, -1].any())
        elif change.any():
            assert key.startswith(HEAD_KEYS) or (which == NORMS and (".bn" in key or "downsample.1" in key)), key
    assert columns == (16 if which == NORMS else 0)


@pytest.mark.slow
def test_without_a_domain_tag_the_first_trunks_column_stays_zero():
    torch.manual_seed(0)
    student = Student(4, 3, teacher_classes=5, trunk=CSEResNet50(domain_tag=False))
    trained(student, "all", steps=1)
    attentions = [value for key, value in student.state_dict().items() if "fc2.weight" in key]
    assert len(attentions) == 16 and not any(value[:, -1].any() for value in attentions)
    with torch.no_grad():
        sketch, photo = student.eval()(pair(), DOMAINS).embedding
    torch.testing.assert_close(sketch, photo)


def test_the_trunk_has_a_learning_rate_of_its_own():
    student = Student(4, 3, teacher_classes=5, trunk=trunk_of("test_resnet"))
    optimizer = adam(student, lr=0.1, weight_decay=0.0, trunk_lr=0.01)
    of_trunk = {id(p) for part in student.trunk_parts() for p in part.parameters()}
    rates = {rate: set() for rate in (0.1, 0.01)}
    for group in optimizer.param_groups:
        rates[group["lr"]] |= {id(p) for p in group["params"]}
        assert group["initial_lr"] == group["lr"]
    assert rates[0.01] == of_trunk and rates[0.1] == {id(p) for p in student.parameters()} - of_trunk


@pytest.mark.parametrize("which", ["all", NORMS])
@pytest.mark.parametrize("domain_tag", [True, False])
@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_resnet"])
def test_checkpointed_activations_give_the_same_gradients(name, domain_tag, which):
    gradients = []
    for is_checkpointed in (False, True):
        student = Student(4, 3, teacher_classes=5, trunk=trunk_of(name, domain_tag)).train()
        choose_trainable(student, which)
        if is_checkpointed:
            student.original_model.checkpoint_activations()
        student(pair() + torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), DOMAINS).embedding.square().sum().backward()
        gradients.append({key: p.grad for key, p in student.named_parameters() if p.grad is not None})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys() and any("network" in key for key in plain)
    for key, value in plain.items():
        torch.testing.assert_close(checkpointed[key], value, rtol=1e-4, atol=1e-5, msg=key)


def test_the_first_trunk_cannot_checkpoint_activations():
    with pytest.raises(NotImplementedError):
        CSEResNet50().checkpoint_activations()


def with_trained_tag(name: str) -> Student:
    trunk = trunk_of(name)
    with torch.no_grad():
        for value in trunk.domain_tag.parameters():
            value.normal_(std=0.3)
    return Student(4, 3, teacher_classes=5, trunk=trunk).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_a_compiled_network_reads_the_domains_of_each_batch(name):
    student = with_trained_tag(name)
    compiled = torch.compile(student, backend="aot_eager", dynamic=False)
    for domain in (DOMAINS, DOMAINS.flip(0)):
        torch.testing.assert_close(compiled(pair(), domain).pooled, student(pair(), domain).pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_in_mixed_precision_the_domain_still_matters(name):
    student = with_trained_tag(name)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = student(pair(), DOMAINS).pooled.float()
    with torch.no_grad():
        expected = student(pair(), DOMAINS).pooled
    assert (found - expected).norm() < 0.05 * expected.norm() < 0.5 * (expected[0] - expected[1]).norm()


def test_a_copy_of_a_trunk_has_its_own_domain_tag():
    trunk = trunk_of("test_resnet").eval()
    with torch.no_grad():
        for parameter in trunk.domain_tag.parameters():
            parameter[0] = 1.0  # for sketches
    for twin in (copy.deepcopy(trunk), pickle.loads(pickle.dumps(trunk))):
        with torch.no_grad():
            expected = trunk.features(pair(), DOMAINS)
            torch.testing.assert_close(twin.features(pair(), DOMAINS), expected)
            for parameter in twin.domain_tag.parameters():
                parameter.zero_()
            sketch, photo = twin.features(pair(), DOMAINS)
            assert torch.equal(trunk.features(pair(), DOMAINS), expected)
        torch.testing.assert_close(sketch, photo)


def test_threads_do_not_mix_their_domains():
    trunk = trunk_of("test_resnet").eval()
    with torch.no_grad():
        for parameter in trunk.domain_tag.parameters():
            parameter[0] = 1.0

    def feature(number: int) -> torch.Tensor:
        with torch.no_grad():
            return trunk.features(pair(), DOMAINS[[number % 2, number % 2]])[0]

    expected = [feature(0), feature(1)]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(feature, range(24))):
            torch.testing.assert_close(found, expected[number % 2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_synchronised_batchnorm_keeps_the_domain_tag(device):
    trunk = trunk_of("mobilenetv3_small_050").eval()  # its first stage ends in a BatchNorm
    with torch.no_grad():
        for parameter in trunk.domain_tag.parameters():
            parameter[0] = 0.5
        expected = trunk.features(pair(), DOMAINS)
        synchronise_batchnorm(trunk, torch.device(device))
        torch.testing.assert_close(trunk.features(pair(), DOMAINS), expected)

"""Teachers: trained on views or read from a file, and what they say of a set's views."""

import pytest
import torch
import torchvision
from making import make_data, make_set

from fedbits.container import encode
from fedbits.errors import BudgetError, ConfigError, DataError
from fedbits.evaluate import accuracy
from fedbits.labels import CodecConfig, Views, ViewsConfig
from fedbits.labels.fitting import compress
from fedbits.labels.teaching import TeacherConfig, TeachingConfig
from fedbits.teach import ViewedData, make_teacher, save_weights, taught_within, teach

DATA = make_data((1, 8, 8), [20, 20, 20])
VIEWS = ViewsConfig(epochs=3, least_area=0.75, rotation=0)
TINY = TeacherConfig(width=8, steps=60)


@pytest.fixture(scope="module")
def teacher():
    return make_teacher(DATA, TINY, VIEWS)


def test_a_teacher_learns_and_says_what_views_are_at_its_temperature(teacher):
    assert accuracy(teacher, DATA) > 0.8
    distilled = make_set(DATA, 3)
    taught, softer = teach(distilled, teacher, VIEWS), teach(distilled, teacher, VIEWS, 4.0)
    assert taught.probabilities.shape == (3, 9, 3) and taught.float16_bytes == 162
    index = torch.tensor([5, 2])
    views = Views(VIEWS, 9).make(lambda chosen: distilled.samples[chosen], 1, index)
    with torch.no_grad():
        expected = teacher(views).softmax(1)
    assert torch.allclose(taught.probabilities[1, index].float(), expected, atol=2e-3)
    assert float(softer.probabilities.float().amax(2).mean()) < float(
        taught.probabilities.float().amax(2).mean()
    )


def test_mixed_views_have_mixed_classes():
    viewed = ViewedData(DATA, ViewsConfig(epochs=2, mix="mixup"))
    lesson = viewed.lesson(torch.arange(8), 0)
    assert torch.allclose(lesson.targets.sum(1), torch.ones(8)) and bool(lesson.viewed.all())
    assert bool((lesson.targets.amax(1) < 1).any())
    own = lesson.targets[torch.arange(8), DATA.labels[:8]]
    assert float(own.min()) >= 0.5


def test_a_kept_teacher_says_the_same(teacher, tmp_path):
    save_weights(teacher, tmp_path / "t.pt")
    again = make_teacher(DATA, TeacherConfig(width=8, weights=str(tmp_path / "t.pt")), VIEWS)
    samples = DATA.batch(torch.arange(4)).samples
    assert torch.equal(again(samples), teacher(samples))


def test_weights_of_torchvision_are_taken(tmp_path):
    network = torchvision.models.get_model("squeezenet1_1", weights=None, num_classes=3)
    torch.save(network.state_dict(), tmp_path / "s.pt")
    config = TeacherConfig("torchvision:squeezenet1_1", weights=str(tmp_path / "s.pt"))
    data = make_data((1, 32, 32), [2, 2, 2])
    teacher = make_teacher(data, config, VIEWS)
    samples = data.batch(torch.arange(2)).samples
    shown = (samples * data.spec.std[0] + data.spec.mean[0]).expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    network.eval()
    assert torch.allclose(teacher(samples), network((shown - mean) / std), atol=1e-4)


@pytest.mark.parametrize(
    ("config", "error", "named"),
    [
        (TeacherConfig("torchvision:resnet18"), ConfigError, "needs a file"),
        (TeacherConfig("torchvision:nonet", weights="x.pt"), ConfigError, "nonet"),
        (TeacherConfig("nonet"), ConfigError, "nonet"),
        (TeacherConfig(weights="nowhere.pt"), DataError, "nowhere.pt"),
        (TeacherConfig(width=8, weights=__file__), DataError, "does not hold weights"),
    ],
)
def test_a_teacher_that_cannot_be_is_named(config, error, named):
    with pytest.raises(error, match=named):
        make_teacher(DATA, config, VIEWS)


def test_labels_and_samples_fit_a_budget_together(teacher):
    distilled = make_set(DATA, 3)
    taught = teach(distilled, teacher, VIEWS)
    bare = len(encode(distilled))
    found = taught_within(distilled, taught, "scalar", bare + 60)
    assert bare < len(encode(found)) <= bare + 60
    with pytest.raises(BudgetError, match="leaves nothing"):
        taught_within(distilled, taught, "scalar", bare)


def test_taking_labels_away_leaves_the_samples(teacher):
    distilled = make_set(DATA, 3)
    taught = distilled.taught(compress(teach(distilled, teacher, VIEWS), CodecConfig("scalar", levels=4)))
    assert taught.describe()["labels"] == "views"
    assert encode(taught.bare()) == encode(distilled)


@pytest.mark.parametrize("wrong", [{"codec": "x"}, {"share": 0.0}, {"share": 1.0}, {"temperature": 0.01}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        TeachingConfig(**wrong)

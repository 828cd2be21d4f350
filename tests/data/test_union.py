"""Several sets trained on as one."""

import torch
from making import make_data, make_set
from viewed import viewed

from fedbits.data.union import Union

PLAIN, TAUGHT = make_set(make_data((1, 8, 8), [4, 4, 4])), viewed(make_set(make_data((1, 8, 8), [3, 3, 3])))


def test_each_set_teaches_its_own_lesson_in_the_order_asked_for() -> None:
    union = Union(PLAIN.spec, [PLAIN, TAUGHT])
    first = len(PLAIN)
    index = torch.tensor([first + 2, 0, first, 5])
    lesson = union.lesson(index, epoch=1)
    plain, taught = PLAIN.lesson(torch.tensor([0, 5]), 1), TAUGHT.lesson(torch.tensor([2, 0]), 1)
    assert torch.equal(lesson.samples[[1, 3]], plain.samples)
    assert torch.equal(lesson.samples[[0, 2]], taught.samples)
    assert lesson.viewed.tolist() == [True, False, True, False]
    assert torch.equal(lesson.targets[[0, 2]], taught.targets)
    certain = torch.nn.functional.one_hot(plain.targets, PLAIN.spec.classes).float()
    assert torch.equal(lesson.targets[[1, 3]], certain)
    assert torch.equal(lesson.temperature[[0, 2]], taught.temperature)


def test_classes_stay_classes_where_no_sample_has_more() -> None:
    union = Union(PLAIN.spec, [PLAIN, TAUGHT])
    lesson = union.lesson(torch.tensor([1, 3]), epoch=0)
    assert torch.equal(lesson.targets, PLAIN.labels[[1, 3]])
    assert not lesson.viewed.any()

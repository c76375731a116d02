"""The sample stream: the same for one process and two, and after an interruption."""

import pytest

from common.data.sampling import StepSampler, epoch_order, eval_indices
from common.errors import UserError


def stream(**options):
    defaults = {
        "num_samples": 10,
        "batch_size": 4,
        "micro_batch_size": 4,
        "num_steps": 6,
        "seed": 3,
    }
    return list(StepSampler(**{**defaults, **options}))


def test_positions_count_up_and_epochs_are_whole_permutations():
    keys = [key for batch in stream(num_steps=10) for key in batch]
    assert [position for _, position in keys] == list(range(40))
    epochs = [[index for index, _ in keys[e * 10 : e * 10 + 10]] for e in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[1] == epoch_order(10, 3, 1).tolist()


def test_seed_changes_the_order():
    assert stream() == stream()
    assert stream() != stream(seed=4)


def test_two_processes_see_the_batches_of_one():
    single = stream()
    parts = [stream(rows=range(2)), stream(rows=range(2, 4))]
    joined = [first + second for first, second in zip(*parts, strict=True)]
    assert joined == single


def test_rows_that_differ_in_number_make_the_same_batches():
    parts = [stream(rows=rows, micro_batch_size=2) for rows in (range(1), range(1, 4))]
    by_step = [first + sum(parts[1][2 * i : 2 * i + 2], []) for i, first in enumerate(parts[0])]
    assert by_step == stream()


@pytest.mark.parametrize("micro", [1, 2, 3, 4, 9])
def test_micro_batches_cut_a_step_without_changing_it(micro):
    sampler = StepSampler(10, batch_size=4, micro_batch_size=micro, seed=3, num_steps=6)
    batches = list(sampler)
    per_step = sampler.micro_batches_per_step
    assert len(batches) == len(sampler) == 6 * per_step
    steps = [sum(batches[i : i + per_step], []) for i in range(0, len(batches), per_step)]
    assert steps == stream()
    assert max(len(batch) for batch in batches) == min(micro, 4)


def test_resuming_continues_the_stream():
    assert stream()[4:] == stream(start_step=4, num_steps=2)


def test_batch_larger_than_the_data_set():
    batch = stream(num_samples=3, batch_size=8, micro_batch_size=8, num_steps=1)[0]
    assert [position for _, position in batch] == list(range(8))
    assert sorted(index for index, _ in batch[:3]) == [0, 1, 2]
    assert sorted(index for index, _ in batch[3:6]) == [0, 1, 2]


def test_no_images_are_refused():
    with pytest.raises(UserError, match="no training images"):
        stream(num_samples=0)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_image_is_evaluated_once(world):
    parts = [eval_indices(5, rank, world) for rank in range(world)]
    assert sorted(sum(parts, [])) == list(range(5))

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffsasrec.config import from_dict, to_dict
from diffsasrec.interactions import Interactions
from diffsasrec.splits import Split, SplitConfig, make_split


def interactions_of(rows):
    return Interactions.from_table(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]))


def tables(max_users=7, max_items=9, max_time=25, max_rows=60):
    row = st.tuples(st.integers(1, max_users), st.integers(1, max_items), st.integers(0, max_time))
    return st.lists(row, min_size=1, max_size=max_rows).map(interactions_of)


def items_of(interactions, start, end):
    return interactions.vocabulary.decode(interactions.tokens[start:end]).tolist()


def described(split: Split, part):
    """What a part says of each user, in item ids: {user: (history, target)}."""
    interactions = split.interactions
    return {
        int(interactions.user_ids[row]): (
            items_of(interactions, start, end),
            items_of(interactions, target, target + 1)[0],
        )
        for row, start, end, target in zip(part.rows, part.start, part.end, part.target, strict=True)
    }


def trained(split: Split):
    ranges = zip(split.train_rows, split.train_start, split.train_end, strict=True)
    return {
        int(split.interactions.user_ids[row]): items_of(split.interactions, start, end)
        for row, start, end in ranges
    }


THREE_USERS = (
    [(1, item, item) for item in (10, 11, 12, 13)]
    + [(2, 10, 1), (2, 99, 2)]
    + [
        (3, 11, 5),
        (3, 10, 6),
        (3, 77, 7),
    ]
)


def test_leave_one_out_holds_out_the_last_and_the_one_before():
    split = make_split(interactions_of(THREE_USERS), SplitConfig())
    assert described(split, split.validation) == {1: ([10, 11], 12), 3: ([11], 10)}
    assert described(split, split.test) == {1: ([10, 11, 12], 13), 3: ([11, 10], 77)}
    assert trained(split) == {1: [10, 11], 2: [10, 99], 3: [11]}


def test_targets_that_never_train_are_kept_and_marked_cold():
    split = make_split(interactions_of(THREE_USERS), SplitConfig())
    assert split.validation.cold.tolist() == [True, False]  # 12 is nowhere else, 10 is in training
    assert split.test.cold.tolist() == [True, True]
    assert len(split.training_counts()) == split.interactions.num_items == 6
    assert split.training_counts().tolist() == [2, 2, 0, 0, 0, 1]  # items 10, 11, 12, 13, 77, 99


def test_refit_trains_up_to_the_test_targets_and_leaves_the_parts_alone():
    interactions = interactions_of(THREE_USERS)
    split, refit = make_split(interactions, SplitConfig()), make_split(interactions, SplitConfig(refit=True))
    assert trained(refit) == {1: [10, 11, 12], 2: [10, 99], 3: [11, 10]}
    for name in ("validation", "test"):
        assert described(refit, refit.part(name)) == described(split, split.part(name))
        assert refit.target_hash(name) == split.target_hash(name)


@settings(deadline=None)
@given(tables())
def test_leave_one_out_is_what_a_loop_over_users_says(interactions):
    sequences = [
        interactions.vocabulary.decode(interactions.sequence(row)[0]).tolist()
        for row in range(interactions.num_users)
    ]
    users = dict(zip(interactions.user_ids.tolist(), sequences, strict=True))
    if max(map(len, sequences)) < 3:
        with pytest.raises(ValueError, match="at least 3 interactions"):
            make_split(interactions, SplitConfig())
        return
    split = make_split(interactions, SplitConfig())
    long = {user: items for user, items in users.items() if len(items) >= 3}
    assert described(split, split.test) == {user: (items[:-1], items[-1]) for user, items in long.items()}
    assert described(split, split.validation) == {
        user: (items[:-2], items[-2]) for user, items in long.items()
    }
    expected = {user: items[:-2] if user in long else items for user, items in users.items()}
    assert trained(split) == expected
    seen = [item for items in expected.values() for item in items]
    assert split.training_counts().tolist() == [seen.count(item) for item in interactions.vocabulary.item_ids]
    assert split.test.cold.tolist() == [items[-1] not in seen for items in long.values()]


def cutoff_of(timestamps, quantile):
    """The higher of the two order statistics around the quantile, from its definition."""
    ordered = sorted(timestamps)
    return ordered[int(np.ceil(quantile * (len(ordered) - 1)))]


@settings(deadline=None)
@given(tables(), st.sampled_from([0.5, 0.75, 0.9]))
def test_global_time_is_what_a_loop_over_users_says(interactions, quantile):
    config = SplitConfig(name="global_time", quantile=quantile)
    times = interactions.timestamps.tolist()
    test_cutoff = cutoff_of(times, quantile)
    earlier = [time for time in times if time < test_cutoff]
    validation_cutoff = cutoff_of(earlier, quantile) if earlier else 0
    users = {
        int(user): list(zip(items_of(interactions, low, high), times[low:high], strict=True))
        for user, low, high in zip(
            interactions.user_ids, interactions.offsets[:-1], interactions.offsets[1:], strict=True
        )
    }

    def before(rows, cutoff):
        return [item for item, time in rows if time < cutoff]

    expected_train = {
        user: items for user, rows in users.items() if (items := before(rows, validation_cutoff))
    }
    known = {item for items in expected_train.values() for item in items}

    def expected(low, high):
        found = {}
        for user, rows in users.items():
            suitable = [item for item, time in rows if low <= time < high and item in known]
            if before(rows, low) and suitable:
                found[user] = (before(rows, low), suitable[0])
        return found

    validation, test = expected(validation_cutoff, test_cutoff), expected(test_cutoff, 10**9)
    if not validation or not test:
        with pytest.raises(ValueError, match=r"global_time at quantile .* leaves no user"):
            make_split(interactions, config)
        return
    split = make_split(interactions, config)
    assert (split.validation_cutoff, split.test_cutoff) == (validation_cutoff, test_cutoff)
    assert trained(split) == expected_train
    assert described(split, split.validation) == validation
    assert described(split, split.test) == test
    assert not split.test.cold.any()
    refit = make_split(interactions, SplitConfig(name="global_time", quantile=quantile, refit=True))
    assert described(refit, refit.test) == test
    until_test = {user: before(rows, test_cutoff) for user, rows in users.items()}
    assert trained(refit) == {user: items for user, items in until_test.items() if items}


def test_global_time_skips_unsuitable_targets_one_by_one():
    rows = [(1, item, time) for time, item in enumerate([1, 2, 3, 4, 1, 2, 3, 4], start=1)]
    rows += [(2, 1, 2), (2, 4, 7), (2, 2, 10), (2, 50, 11), (2, 3, 12), (2, 1, 13)]
    rows += [(3, 1, 12)]  # no history before the cutoff
    split = make_split(interactions_of(rows), SplitConfig(name="global_time", quantile=0.75))
    assert (split.validation_cutoff, split.test_cutoff) == (7, 11)
    assert described(split, split.test)[2] == ([1, 4, 2], 3)  # 50 was never trained on
    assert described(split, split.validation) == {1: ([1, 2, 3, 4, 1, 2], 3), 2: ([1], 4)}


@settings(deadline=None)
@given(tables())
def test_the_target_hash_names_users_and_targets_and_nothing_else(interactions):
    assume(np.diff(interactions.offsets).max() >= 3)
    split = make_split(interactions, SplitConfig())
    again = make_split(interactions, SplitConfig())
    assert split.target_hash("test") == again.target_hash("test")
    assert len(split.target_hash("test")) == 16
    pairs = [(user, target) for user, (_, target) in described(split, split.test).items()]
    others = [(user, target) for user, (_, target) in described(split, split.validation).items()]
    assert (pairs == others) == (split.target_hash("test") == split.target_hash("validation"))


def test_the_target_hash_does_not_change_between_versions():
    split = make_split(interactions_of(THREE_USERS), SplitConfig())
    assert split.target_hash("test") == hashlib.sha256(b"[[1,13],[3,77]]").hexdigest()[:16]


def test_a_part_of_a_part_keeps_users_and_targets_together():
    split = make_split(interactions_of(THREE_USERS), SplitConfig())
    assert described(split, split.test.take(np.array([1]))) == {3: ([11, 10], 77)}
    assert len(split.test.take(split.test.rows == 0)) == 1
    assert split.test.take(np.array([1])).name == "test"


def test_bad_configurations_are_named():
    with pytest.raises(ValueError, match="unknown split 'leave_one_uot': did you mean 'leave_one_out'"):
        SplitConfig(name="leave_one_uot")
    with pytest.raises(ValueError, match="quantile must lie between 0 and 1, got 1"):
        SplitConfig(name="global_time", quantile=1.0)
    split = make_split(interactions_of(THREE_USERS), SplitConfig())
    with pytest.raises(ValueError, match="unknown part 'tset': did you mean 'test'"):
        split.part("tset")


def test_a_configuration_survives_json():
    config = SplitConfig(name="global_time", quantile=0.9, refit=True)
    assert from_dict(SplitConfig, to_dict(config)) == config


def test_one_moment_for_all_interactions_has_no_time_split():
    with pytest.raises(ValueError, match="leaves no user"):
        make_split(interactions_of([(1, item, 5) for item in range(5)]), SplitConfig(name="global_time"))

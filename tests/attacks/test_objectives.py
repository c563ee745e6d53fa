import pytest
import torch

from voxcert.attacks import REJECTED, CrossEntropy, Margin, Verification

SCORES = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4]])
LABELS = torch.tensor([0, 1])


def test_closed_set_margins_by_hand():
    torch.testing.assert_close(Margin().margin(SCORES, LABELS, targeted=False), torch.tensor([0.4, -0.1]))
    torch.testing.assert_close(Margin().margin(SCORES, LABELS, targeted=True), torch.tensor([-0.4, 0.1]))


def test_open_set_margins_by_hand():
    objective = Margin(threshold=0.6)
    torch.testing.assert_close(objective.margin(SCORES, LABELS, targeted=False), torch.tensor([0.3, -0.3]))
    torch.testing.assert_close(objective.margin(SCORES, LABELS, targeted=True), torch.tensor([-0.3, 0.3]))


def test_rejection_is_a_label_of_the_open_set():
    objective, nobody = Margin(threshold=0.6), torch.tensor([REJECTED, REJECTED])
    torch.testing.assert_close(objective.margin(SCORES, nobody, targeted=True), torch.tensor([0.3, -0.2]))
    assert objective.succeeded(SCORES, nobody, targeted=True).tolist() == [False, True]
    assert objective.succeeded(SCORES, nobody, targeted=False).tolist() == [True, False]


def decide(row, threshold):
    """Eqs. (1) and (2) of the SSED paper, literally."""
    best = max(range(len(row)), key=lambda index: row[index])
    return best if threshold is None or row[best] >= threshold else REJECTED


@pytest.mark.parametrize("threshold", [None, 0.3])
@pytest.mark.parametrize("targeted", [False, True])
def test_success_is_the_decision_of_the_paper_and_the_sign_of_the_margin(threshold, targeted):
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(200, 4, generator=generator) - 0.3
    labels = torch.randint(0 if threshold is None else REJECTED, 4, (200,), generator=generator)
    objective = Margin(threshold)
    decisions = torch.tensor([decide(row, threshold) for row in scores.tolist()])
    succeeded = objective.succeeded(scores, labels, targeted)
    assert torch.equal(succeeded, (decisions == labels) == targeted)
    assert torch.equal(succeeded, objective.margin(scores, labels, targeted) < 0)
    assert 0 < succeeded.sum() < 200


def test_a_score_at_the_threshold_is_accepted():
    scores, labels = torch.tensor([[0.5, 0.1]]), torch.tensor([0])
    for objective in (Margin(threshold=0.5), Verification(threshold=0.5)):
        assert objective.succeeded(scores, labels, targeted=True).all()
        assert not objective.succeeded(scores, labels, targeted=False).any()


def test_verification_by_hand():
    objective = Verification(threshold=0.6)
    torch.testing.assert_close(objective.margin(SCORES, LABELS, targeted=True), torch.tensor([-0.3, 0.3]))
    torch.testing.assert_close(objective.margin(SCORES, LABELS, targeted=False), torch.tensor([0.3, -0.3]))
    assert objective.succeeded(SCORES, LABELS, targeted=True).tolist() == [True, False]
    assert objective.succeeded(SCORES, LABELS, targeted=False).tolist() == [False, True]


def test_cross_entropy_is_the_log_probability_of_the_label():
    probability = (30 * SCORES).softmax(dim=1)[[0, 1], LABELS]
    torch.testing.assert_close(CrossEntropy().loss(SCORES, LABELS, targeted=True), -probability.log())
    torch.testing.assert_close(CrossEntropy().loss(SCORES, LABELS, targeted=False), probability.log())
    torch.testing.assert_close(
        CrossEntropy().margin(SCORES, LABELS, targeted=True), Margin().margin(SCORES, LABELS, targeted=True)
    )


@pytest.mark.parametrize("objective", [Margin(), Verification(0.3), CrossEntropy()])
@pytest.mark.parametrize("label", [-1, 3])
def test_labels_without_a_score_are_named(objective, label):
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\)"):
        objective.loss(SCORES, torch.tensor([0, label]), targeted=False)


def test_a_scale_that_turns_the_attack_around_is_refused():
    with pytest.raises(ValueError, match="scale must be positive, got -1"):
        CrossEntropy(scale=-1)


def test_identification_among_one_is_refused_and_open_set_is_not():
    scores, labels = torch.tensor([[0.5]]), torch.tensor([0])
    with pytest.raises(ValueError, match="scores must be of at least 2 speakers"):
        Margin().loss(scores, labels, targeted=True)
    torch.testing.assert_close(Margin(threshold=0.6).loss(scores, labels, targeted=True), torch.tensor([0.1]))


@pytest.mark.parametrize("threshold", [float("inf"), float("nan")])
def test_a_threshold_that_is_no_number_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be finite or None, got"):
        Margin(threshold)

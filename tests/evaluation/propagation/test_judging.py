"""Label propagation as an evaluation: rows, single values, comparisons, what is refused, real sequences, the page."""

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.data.manifest import Manifest
from kinema.data.scan import scan
from kinema.errors import DataError, RecipeError
from kinema.evaluation import EvaluationSettings, as_markdown, compare_across, evaluate, protocol, with_overrides
from kinema.evaluation.evaluated import Evaluated
from kinema.evaluation.extract import Extraction
from kinema.evaluation.propagation import PropagationPreset, Rule
from kinema.evaluation.propagation.running import carry_sequence
from kinema.evaluation.propagation.scoring import metrics_of
from kinema.evaluation.propagation.truths import truth_of
from kinema.evaluation.rows import Results
from kinema.metrics import agreement, course
from kinema.modules.encoder import Encoder, EncoderInput, Features
from kinema.report import write_report
from kinema.report.propagation import sequence_clip
from tests.report.runs import write_run

SIDE, CELL, FRAMES = 96, 8, 6
PLAIN = EncoderInput("image", frames=1, mean=(0, 0, 0), std=(1, 1, 1))


class MeanOfCells(Encoder):
    """The average colour of each cell, in three bands of each channel so that colours stand at right angles."""

    taps = ("half",)

    def __init__(self):
        super().__init__()
        self.input, self.feature_dim = PLAIN, 12
        self.calls = 0

    def forward(self, x, valid=None, taps=()):
        self.calls += len(x)
        cells = torch.nn.functional.avg_pool2d(x, CELL)
        bands = torch.cat([(cells - level).abs().lt(0.15).float() for level in (0.0, 0.33, 0.66, 1.0)], 1)
        return Features(bands.mean((2, 3)), bands, extra=dict.fromkeys(taps, bands[:, :, ::2, ::2]))


class Blind(MeanOfCells):
    """Sees the same everywhere."""

    def forward(self, x, valid=None, taps=()):
        found = super().forward(x, taps=taps)
        return found._replace(map=torch.ones_like(found.map))


def draw(root, name, *, objects=2, step=CELL, frames=FRAMES, known=range(FRAMES)):
    """Coloured squares that move by whole cells over a dark scene, and their masks."""
    colours = [(0, 0, 0), (255, 85, 0), (85, 255, 170)]
    for folder in ("JPEGImages", "Annotations"):
        (root / folder / name).mkdir(parents=True)
    for t in range(frames):
        ids = np.zeros((SIDE, SIDE), np.uint8)
        for k in range(objects):
            ids[CELL * (1 + 5 * k) : CELL * (4 + 5 * k), CELL + step * t : 4 * CELL + step * t] = k + 1
        picture = np.array(colours, np.uint8)[ids]
        Image.fromarray(picture).save(root / "JPEGImages" / name / f"{t:05d}.png")
        if t in known:
            Image.fromarray(ids).save(root / "Annotations" / name / f"{t:05d}.png")
    return {"path": f"JPEGImages/{name}", "masks": f"Annotations/{name}"}


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """Seven sequences; one with a single object, one annotated in part, one of another split."""
    root = tmp_path_factory.mktemp("davis")
    rows = [draw(root, f"s{k}", objects=1 if k == 2 else 2) | {"split": "val"} for k in range(6)]
    rows.append(draw(root, "sparse", known=(0, 2, 3, 5)) | {"split": "val"})
    rows.append(draw(root, "other") | {"split": "train"})
    return Manifest.from_rows(rows, root)


def settings(*overrides, protocols=("propagation",), **more):
    own = ["propagation.resize=96x96", "propagation.temperature=0.01", "propagation.top=1", *overrides]
    return with_overrides(EvaluationSettings(protocols, calibrated=False, **more), own)


@pytest.fixture(scope="module")
def found(sequences):
    encoders = {"trained": {0: MeanOfCells(), 1: MeanOfCells()}, "untrained": {0: Blind(), 1: Blind()}}
    return evaluate(encoders, sequences, settings(), pretraining={"trained": sequences.select([0])})


def test_what_moves_by_whole_cells_is_followed(found):
    for metric in ("J&F", "J", "F"):
        (own, again) = found.find(arm="trained", metric=metric)
        assert 95 < own.value == again.value  # scaling up from the grid rounds the corners
    assert found.find(arm="trained", metric="J recall")[0].value == 100.0
    assert found.find(arm="trained", metric="J decay")[0].value == 0.0
    (still,) = found.find(arm="pixels-identity", metric="J&F")
    assert 15 < still.value < 60
    assert found.find(arm="pixels-rgb", metric="J&F")[0].value > 90
    assert found.find(arm="untrained", metric="J&F")[0].value < still.value


def test_rows_say_what_was_judged(found, sequences):
    row = found.find(arm="trained", metric="J&F")[0]
    assert (row.protocol, row.level, row.n_test, row.split) == ("propagation:davis", "video", 13, "val")
    assert row.exposure == "transductive" and row.card["overlap"] == 1
    assert found.find(arm="untrained")[0].exposure == found.find(arm="pixels-rgb")[0].exposure == "none"
    assert row.card["propagation"]["rule"]["top"] == 1 and row.card["propagation"]["resize"] == "96x96"
    assert (row.card["not used"], row.card["groups"], row.card["stage"]) == (1, 7, "map")
    assert list(row.per_group) == [f"JPEGImages/{name}" for name in ("s0", "s1", "s2", "s3", "s4", "s5", "sparse")]
    ids = found.predictions["ids"].tolist()
    assert len(ids) == 13 and ids[:2] == ["JPEGImages/s0 1", "JPEGImages/s0 2"] and ids.count("JPEGImages/s2 1") == 1
    text = as_markdown(found)
    assert f"| trained | propagation:davis | J&F | {row.value:.2f} |" in text
    assert "13 objects in 7 groups; rows of split 'val'" in text and "largest class" not in text


def test_values_of_the_first_mask_are_those_of_the_metric(found, sequences):
    """J and F of each object out of the stored masks, by the functions for whole sequences."""
    values = found.predictions["J/pixels-identity/propagation:davis/0"]
    by_object = dict(zip(found.predictions["ids"].tolist(), values, strict=True))
    folder = sequences.root / "Annotations" / "s0"
    truth = np.stack([np.asarray(Image.open(file)) for file in sorted(folder.iterdir())])
    expected = agreement(truth[:1].repeat(FRAMES, 0), truth)
    for k, name in enumerate(("JPEGImages/s0 1", "JPEGImages/s0 2")):
        assert by_object[name] == pytest.approx(100 * course(expected.region[k]).mean)


def test_comparisons_are_over_sequences_and_seeds(found):
    against = {one.against: one for one in found.comparisons}
    assert set(against) == {"untrained", "pixels-rgb", "pixels-grey", "pixels-identity"}
    assert against["untrained"].groups == 7 and against["untrained"].metric == "J&F"
    assert against["untrained"].verdict == "beats" and against["untrained"].low > 20
    means = {arm: found.find(arm=arm, metric="J&F")[0].value for arm in ("trained", "pixels-identity")}
    assert against["pixels-identity"].difference == pytest.approx(means["trained"] - means["pixels-identity"])


def test_every_frame_is_encoded_once(sequences):
    encoder = MeanOfCells()
    evaluate({"e": encoder}, sequences.select([0]), settings(pixels=False))
    assert encoder.calls == FRAMES - 1  # after the last judged frame nothing is needed


def test_frames_without_a_mask_are_carried_through_and_not_judged(found, sequences):
    kept = found.predictions["shown/JPEGImages/sparse/frames"]
    assert kept.tolist() == [2, 3]
    assert found.find(arm="trained", metric="J&F")[0].per_group["JPEGImages/sparse"] > 96


def test_presets_stages_and_reading_back(found, sequences, tmp_path):
    both = settings(protocols=("propagation:davis", "propagation:davis-dino@half"), pixels=False)
    results = evaluate({"trained": MeanOfCells()}, sequences, both)
    assert {row.protocol for row in results.rows} == {"propagation:davis", "propagation:davis-dino@half"}
    assert results.find(protocol="propagation:davis-dino@half")[0].card["stage"] == "half"
    results.write(tmp_path)
    assert Results.read(tmp_path).rows == results.rows
    with pytest.raises(RecipeError, match="no tap 'third'"):
        evaluate({"trained": MeanOfCells()}, sequences, settings(protocols=("propagation@third",)))


def test_runs_are_compared_by_objects(found, sequences):
    other = evaluate({"trained": Blind()}, sequences, settings())
    runs = [Evaluated(sequences.root, name, {}, one) for name, one in (("a", found), ("b", other))]
    across = compare_across(runs)
    assert across.standings[0].arm == "a"
    (difference,) = across.comparisons
    assert difference.metric == "J&F" and difference.difference > 20
    assert {"pixels-rgb", "pixels-identity"} < {one.arm for one in across.standings}


def test_a_video_that_breaks_is_refused_or_counted(sequences):
    rows = [sequences.row(0), sequences.row(1) | {"masks": "nowhere"}]
    broken = Manifest.from_rows(rows, sequences.root)
    with pytest.raises(DataError, match="1 of 2 rows cannot be read"):
        evaluate({"e": MeanOfCells()}, broken, settings())
    passing = settings(extraction=Extraction(skip_broken=True))
    assert evaluate({"e": MeanOfCells()}, broken, passing).info["skipped"] == 1


def test_what_cannot_be_judged_is_refused(sequences, tmp_path):
    with pytest.raises(RecipeError, match="'propagation:davis' judges annotated sequences"):
        evaluate({"e": MeanOfCells()}, sequences, EvaluationSettings(("knn", "propagation")))
    with pytest.raises(RecipeError, match="'propagation:davis' and 'propagation:vip' judge other labels"):
        evaluate({"e": MeanOfCells()}, sequences, settings(protocols=("propagation", "propagation:vip")))
    with pytest.raises(RecipeError, match=r"no propagation preset 'davos'.* Did you mean 'davis'"):
        protocol("propagation:davos")
    with pytest.raises(DataError, match=r"no row of the split 'test' has masks; .* are of: train, val"):
        evaluate({"e": MeanOfCells()}, sequences, settings("propagation.split=test"))
    with pytest.raises(DataError, match="needs the column 'joints'"):
        evaluate({"e": MeanOfCells()}, sequences, settings(protocols=("propagation:jhmdb",)))
    late, only = draw(tmp_path, "late", known=(1, 2, 3)), draw(tmp_path, "only", known=(0,))
    with pytest.raises(DataError, match=r"the first frame of the sequence has no mask[\s\S]*1 of 6 frames have a mask"):
        evaluate({"e": MeanOfCells()}, Manifest.from_rows([late, only], tmp_path), settings())


def test_masks_of_another_shape_are_refused_with_their_sizes(tmp_path):
    row = draw(tmp_path, "scene")
    folder = tmp_path / "Annotations" / "scene"
    manifest = Manifest.from_rows([row], tmp_path)
    for number in range(FRAMES):  # half the size will do
        file = folder / f"{number:05d}.png"
        Image.open(file).resize((48, 48)).save(file)
    assert evaluate({"e": MeanOfCells()}, manifest, settings()).find(arm="e")[0].value > 90
    Image.new("L", (48, 40), 1).save(folder / "00002.png")
    with pytest.raises(DataError, match=r"mask of frame 2 has 40 x 48 pixels, the first one 48 x 48"):
        evaluate({"e": MeanOfCells()}, manifest, settings())
    Image.new("L", (48, 40), 1).save(folder / "00000.png")
    with pytest.raises(DataError, match=r"first mask has 40 x 48 pixels, the frames 96 x 96"):
        evaluate({"e": MeanOfCells()}, manifest, settings())


def test_missing_labels_are_told_before_anything_is_encoded(sequences):
    encoder = MeanOfCells()
    broken = Manifest.from_rows([sequences.row(0), sequences.row(1) | {"masks": "nowhere"}], sequences.root)
    with pytest.raises(DataError, match="evaluate with --skip-broken"):
        evaluate({"e": encoder}, broken, settings())
    assert encoder.calls == 0


def test_no_masks_of_full_size_are_held(sequences):
    """Of every sequence and arm a few small masks stay in memory until the end, however large the frames."""
    row = sequences.row(0)
    preset = PropagationPreset(resize="96x96", rule=Rule(memory=1, top=1))
    large = np.zeros((3, 960, 960), np.uint8)
    large[:, 480:] = 1
    np.save(sequences.root / "large.npy", large)
    manifest = Manifest.from_rows([row | {"masks": "large.npy"}], sequences.root)
    carried = carry_sequence({"identity": None}, manifest, 0, preset, device="cpu")
    assert carried.kept[""].shape == carried.kept["identity"].shape == (1, 127, 127)
    assert (carried.kept["identity"][0, 64:] == 1).all() and not carried.kept["identity"][0, :63].any()


def test_pck_is_over_the_frames_of_all_sequences():
    """One frame all right, three all wrong: a quarter, while the mean of both sequences is a half."""
    values = [np.zeros((1, 2)), np.ones((3, 2))]
    found = {metric.name: metric.value for metric in metrics_of("joints", values)}
    assert found == {"PCK@0.1 by sequence": 50.0, **{f"PCK@{a}": 25.0 for a in (0.1, 0.2, 0.3, 0.4, 0.5)}}


def test_classes_are_judged_by_one_confusion_of_everything(sequences):
    wanted = settings("propagation.classes=3", protocols=("propagation:vip",))
    results = evaluate({"trained": MeanOfCells()}, sequences, wanted)
    pooled, single = results.find(arm="trained", metric="mIoU")[0], results.find(arm="trained")[0]
    assert single.metric == "mIoU by sequence" and single.value > 96 and pooled.value > 96
    assert (pooled.n_test, len(single.per_group), pooled.per_group) == (7, 7, {})
    still = results.find(arm="pixels-identity", metric="mIoU")[0].value
    assert 30 < still < 90
    assert results.comparisons[0].metric == "mIoU by sequence"
    with pytest.raises(DataError, match=r"ids 0 to 1 are needed"):
        evaluate({"e": MeanOfCells()}, sequences, settings("propagation.classes=2", protocols=("propagation:vip",)))


def test_joints_are_followed_and_judged_in_pixels(tmp_path):
    from scipy.io import savemat

    row = draw(tmp_path, "person")
    starts = np.array([[12.0, 12], [20, 20], [28, 28], [12, 52], [20, 60]])  # x, y: middles of cells of the squares
    moves = np.stack([starts + np.array([CELL * t, 0]) for t in range(FRAMES)], -1).transpose(1, 0, 2)
    savemat(tmp_path / "joints.mat", {"pos_img": moves + 1})
    manifest = Manifest.from_rows([{"path": row["path"], "joints": "joints.mat"}], tmp_path)

    class Places(MeanOfCells):
        """Knows the columns of what moves: the frame's number times the step is subtracted."""

        def forward(self, x, valid=None, taps=()):
            maps = []
            for picture in x:
                columns = picture.sum(0)[2 * CELL].nonzero()
                start = int(columns[0]) // CELL - 1
                maps.append(torch.eye(144).view(144, 12, 12).roll(start, 2))
            return Features(torch.zeros(len(x), 144), torch.stack(maps))

    wanted = with_overrides(settings(protocols=("propagation:jhmdb",)), ["propagation.best=1"])
    results = evaluate({"trained": Places()}, manifest, wanted)
    # Cells are read without their half: half a cell, 4 pixels, is 0.11 of 0.6 times the person's box.
    expected = np.hypot(4, 4) / (0.6 * np.hypot(16, 48))
    assert 0.1 < expected < 0.2
    assert results.find(arm="trained", metric="PCK@0.1")[0].value == 0.0
    assert results.find(arm="trained", metric="PCK@0.2")[0].value == 100.0
    identity = [results.find(arm="pixels-identity", metric=f"PCK@{a}")[0].value for a in (0.1, 0.5)]
    assert identity == [0.0, 20.0]  # 8, 16, 24, 32, 40 pixels of 30
    assert results.predictions["shown/JPEGImages/person/truth"].max() < 1
    assert sequence_clip(results, "JPEGImages/person").moving


def test_joints_of_frames_that_are_not_square_come_back_where_they_were(tmp_path):
    """Frames of 48 x 96 pixels on a grid of 12 x 12: cells are 4 high and 8 wide."""
    from scipy.io import savemat

    (tmp_path / "wide").mkdir()
    for number in range(2):
        Image.new("RGB", (96, 48)).save(tmp_path / "wide" / f"{number:05d}.png")
    places = np.array([[16.0, 12], [80, 8], [40, 40]])  # x, y: whole cells
    savemat(tmp_path / "joints.mat", {"pos_img": np.stack([places.T + 1] * 2, -1)})
    manifest = Manifest.from_rows([{"path": "wide", "joints": "joints.mat"}], tmp_path)
    truth = truth_of(manifest, 0, PropagationPreset("joints", best=1))
    maps = truth.shown(truth.start((96, 96), (12, 12), torch.device("cpu")), (96, 96))
    np.testing.assert_array_equal(truth.read(maps.numpy()), places)
    np.testing.assert_allclose(truth.small(places), places / [96, 48], rtol=1e-6)


def test_the_page_plays_the_masks_next_to_the_truth(found, tmp_path):
    run = write_run(tmp_path / "run")
    assert 'href="#propagation"' not in write_report(run).read_text()
    found.write(run / "evaluation" / "davis")
    page = write_report(run).read_text()
    assert 'href="#propagation"' in page and "left the truth, then trained, then untrained" in page
    clips = page.count("labels of JPEGImages/")
    assert clips == 4
    picture = sequence_clip(found, "JPEGImages/s0")
    assert picture.moving and picture.width == 3 * 96 + 2 * 4
    redacted = write_report(run, redact=True).read_text()
    assert "labels of JPEGImages/" not in redacted and "leaves the clips out" in redacted


def test_real_sequences_are_followed_better_by_pixels_than_by_chance(shared_data, tmp_path):
    """Two sequences of DAVIS 2016, cut to seven frames, at a fifth of their size."""
    place = shared_data / "davis2016_subset"
    for name in ("libby", "dog"):
        for kind in ("JPEGImages", "Annotations"):
            (tmp_path / kind / "480p" / name).mkdir(parents=True)
            for file in sorted((place / kind / "480p" / name).iterdir())[:7]:
                (tmp_path / kind / "480p" / name / file.name).symlink_to(file)
    report = scan(tmp_path, workers=1)
    assert report.layout == "davis2017" and len(report.manifest) == 2
    wanted = with_overrides(
        EvaluationSettings(("propagation",), calibrated=False), ["propagation.resize=short96", "propagation.multiple=8"]
    )
    results = evaluate({"trained": Blind()}, report.manifest, wanted)
    values = {arm: results.find(arm=arm, metric="J&F")[0].value for arm in ("trained", "pixels-rgb")}
    assert values["pixels-rgb"] > values["trained"] + 5

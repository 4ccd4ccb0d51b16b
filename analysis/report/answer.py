"""The report's first section: the card, the forest plot, and the figures behind the answer."""

from collections.abc import Iterator

from analysis.confirm.columns import WAYS
from analysis.confirm.model import ConfirmedTrial, ConfirmReport, MetricComparison
from analysis.confirm.report import confirm_report
from analysis.reading import StudyView
from analysis.report.confirmed_card import confirmed_card
from analysis.report.figures import verdict
from analysis.report.forest import confirmed_forest, race_forest
from analysis.report.search_card import search_card
from analysis.report.section import Figure, Section, Table, only
from search_spaces.thresholds import about_a_signal
from study.campaigns.confirmation import Confirmation, confirmation_of
from study.campaigns.tuning import tuning_note
from study.config_changes import as_asked
from study.formats import DASH, number, settings_text
from study.records.chance import never_learned_baselines
from study.records.verdict import race_sentence
from study.units import Unit, unit_of
from trainables.metrics import words_of


def answer(view: StudyView) -> Section:
    """What the study says: its confirmation, if there is one, else its search."""
    confirmation = confirmation_of(view.folder, view.config, view.state)
    return _searched(view) if confirmation is None else _confirmed(view, confirmation)


def _searched(view: StudyView) -> Section:
    chart = race_forest(view)
    missing = "No race over further seeds was run (--race-seeds): there is nothing to plot by seed."
    return Section(
        "verdict",
        "Verdict",
        card=search_card(view),
        notes=(*view.missing(), *_notes(view)),
        charts=only(chart),
        details=tuple(_about_search(view)),
        missing=missing if view.complete else "",
    )


def _notes(view: StudyView) -> list[str]:
    """What the search noted for the reader, but for how its signals were calibrated."""
    return [note for note in view.summary.notes if not about_a_signal(note)]


def _about_search(view: StudyView) -> Iterator[str]:
    """The search's own sentences, which are about luck, and how its signals were calibrated."""
    yield from verdict(view)
    if view.config.train.optimizer.average_words:
        yield view.config.train.optimizer.average_words
    tuned = tuning_note(as_asked(view.config), view.state)
    # Once it is settled it is among the notes.
    if tuned and tuned not in view.summary.notes:
        yield f"{tuned[0].upper()}{tuned[1:]}."
    name = view.config.objective[0]
    for trial in view.ranking:
        sentence = race_sentence(trial, words_of(name), view.unit(name))
        if sentence:
            yield f"{trial.trial_id}: {sentence}."
    yield from filter(about_a_signal, view.summary.notes)


def _confirmed(view: StudyView, confirmation: Confirmation) -> Section:
    report, images = confirm_report(confirmation), confirmation.test_images
    if images is None and report.registered is not None:
        images = report.registered.images
    unit = unit_of(report.decide_by, images, view.config.train.metrics)
    said = [sentence for trial in report.trials for sentence in trial.sentences]
    stuck = never_learned_baselines(
        confirmation.state.by_role("baseline"), confirmation.validation_images
    )
    return Section(
        "verdict",
        "Verdict",
        # Below the card, which has to fit on a telephone's first screen.
        lines=tuple(f"{t.trial}: {settings_text(t.overrides)}." for t in report.trials),
        card=confirmed_card(view, report, images, stuck),
        notes=(*view.missing(), *report.missing, *_notes(view)),
        charts=only(confirmed_forest(report, unit)),
        tables=tuple(_tables(report, unit, confirmation)),
        details=tuple(dict.fromkeys((*said, *_about_search(view), *report.notes))),
        missing="No fresh seed has a difference yet.",
    )


def _tables(report: ConfirmReport, unit: Unit, confirmation: Confirmation) -> Iterator[Table]:
    words = words_of(report.decide_by)
    yield Table(
        f"Differences of {words}",
        ("difference", unit.word, "95 % interval", "seeds", "p (Holm)", "verdict"),
        [row for trial in report.trials for row in _ways(trial, report.decide_by, unit)],
    )
    controls = [row for trial in report.trials for row in _controls(trial)]
    if controls:
        yield Table(
            "How much of a configuration's noise its controls have",
            ("control", "draws a seed", "dose, planned", "dose, trained", "same epochs", "none on"),
            controls,
            "Dose: times the configuration's own. Same epochs: the share of its noisy epochs that "
            "its control has, too; placebos that share more than half of them say nothing of "
            "timing. None on: seeds on which the noise could lie nowhere else.",
        )
    images = confirmation.validation_images
    yield Table(
        "What the search promised, and the fresh seeds kept",
        ("configuration", "metric", "promised", "kept", "95 % interval", "lost"),
        [
            _promise(trial, unit_of(trial.search.metric, images, confirmation.study.train.metrics))
            for trial in report.trials
        ],
        "Promised: on the search's seed, by which the configuration was chosen.",
    )


def _ways(trial: ConfirmedTrial, metric: str, unit: Unit) -> Iterator[tuple[object, ...]]:
    for field, label in WAYS:
        row: MetricComparison | None = getattr(trial, field).get(metric)
        if row is not None and row.n:
            yield (
                label.format(trial=trial.trial),
                _signed(unit, row.mean_difference),
                _interval(unit, row.t_interval),
                row.n,
                Figure(number(row.p_t_holm, ".2g"), row.p_t_holm),
                row.verdict or DASH,
            )


def _controls(trial: ConfirmedTrial) -> Iterator[tuple[object, ...]]:
    for role, found in (("placebo", trial.placebo), ("clock", trial.clock)):
        if found is not None:
            yield (
                f"{role} of {trial.trial}",
                found.draws,
                Figure(_times(found.dose_ratio), found.dose_ratio),
                Figure(_times(found.realised_dose_ratio), found.realised_dose_ratio),
                Figure(f"{found.overlap:.0%}", found.overlap),
                ", ".join(map(str, found.without)) or DASH,
            )


def _promise(trial: ConfirmedTrial, unit: Unit) -> tuple[object, ...]:
    found = trial.search
    return (
        trial.trial,
        f"{words_of(found.metric)} ({unit.word})",
        _signed(unit, found.promised),
        _signed(unit, found.confirmed),
        _interval(unit, found.interval),
        _signed(unit, found.lost),
    )


def _interval(unit: Unit, bounds: tuple[float, float] | None) -> Figure:
    return Figure(unit.bounds(bounds), bounds[0] if bounds else None)


def _signed(unit: Unit, value: float | None) -> Figure:
    return Figure(unit.bare(value), value)


def _times(ratio: float | None) -> str:
    return DASH if ratio is None else f"{ratio:.3g}×"

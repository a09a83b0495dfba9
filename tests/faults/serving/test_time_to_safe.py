"""What many injections show together, from lines that outlive the run; nothing is injected here."""

from tests.faults.serving.time_to_safe import FAULTS, MANY, Seen, page, pooled


def injections(runs: int) -> list[Seen]:
    return [
        Seen(*name, failed=0, by_it=run, decided=None if place < 2 else float(run), safe=float(run), load=1.0)
        for run in range(1, runs + 1)
        for place, name in enumerate(FAULTS)
    ]


def test_faults_are_pooled_for_a_99th_percentile_long_before_each_has_its_own() -> None:
    every = injections(8)
    assert sum(one.decided is not None for one in every) == 104 >= MANY
    assert pooled(every)[0].endswith("| median | 99th percentile |") and "all 104 injections" in pooled(every)[0]
    assert pooled(injections(5))[0].endswith("| median | worst |")
    ordered = [*injections(8)[:-1], Seen(*list(FAULTS)[-1], failed=0, by_it=0, decided=500.0, safe=500.0, load=1.0)]
    assert pooled(ordered)[2] == "| taken back after | 4.5 s | 8.0 s |", "one in a hundred may be worse"


def test_the_page_has_a_row_per_fault_also_when_a_run_was_cut_short() -> None:
    text = page(injections(3)[:-4])
    assert text.startswith("2 to 3 runs of each")
    assert all(f"| {fault} | {how} | 0 / 0 |" in text for fault, how in FAULTS)

"""The rows of TRUST.md §4 that concern stores, agents and the API to agents, each with the tests that show its answer.

The table is read by a test, so that a name cannot go stale. Rows that are not here concern files
(``tests/fast/config``), probes, images, or an API that the product does not have (starting upgrades over REST: 94 to
96, 99).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

HOSTILE, LETTERS = "fast/store/test_hostile_records.py", "fast/agents/test_hostile_letters.py"
CLI, THIEF, SERVE = "fast/test_cli_hostile_store.py", "service/test_thief.py", "service/test_serve.py"
RIGHTS, SERVED, TRUST = "service/test_rights.py", "fast/store/test_served.py", "fast/test_trust.py"

ROWS: dict[str, list[str]] = {
    "6, 7: nested, long, too many (records, letters, requests)": [
        f"{HOSTILE}::test_a_record_that_is_none_stops_its_readers_and_every_grant",
        f"{LETTERS}::test_what_is_no_letter_is_refused_with_words",
        f"{SERVE}::test_bad_requests_are_told_in_a_line",
    ],
    "8, 90: no UTF-8, half characters, NaN, numbers without end": [
        f"{LETTERS}::test_a_report_with_any_field_wrong_is_refused_or_harmless",
        f"{LETTERS}::test_a_host_whose_journal_could_not_be_kept_stops_no_coordinator",
        f"{LETTERS}::test_a_runner_that_was_taken_over_stops_no_coordinator",
    ],
    "46, 47, 51 to 54, 57: names of hosts, roles and runs in keys": [
        f"{HOSTILE}::test_a_host_that_could_not_be_one_is_refused_by_its_key",
        "fast/store/test_records.py::test_a_bad_name_reaches_no_key",
        "fast/store/test_rights.py::test_mistakes_print_nothing_that_a_shell_would_run",
    ],
    "48, 49: text with control characters, in records, letters and requests": [
        f"{HOSTILE}::test_a_record_that_is_none_stops_its_readers_and_every_grant",
        f"{THIEF}::test_nothing_that_a_thief_writes_is_done",
    ],
    "59, fault 41: two machines of one name": ["fast/agents/test_pull.py::test_a_copy_of_a_machine_is_told"],
    "67 to 69: plans and tickets unsigned, of other keys, of other types, copied": [
        f"{THIEF}::test_nothing_that_a_thief_writes_is_done",
        f"{TRUST}::test_another_type_is_refused",
        f"{TRUST}::test_a_copied_signature_counts_once",
        "fast/runner/test_keys.py::test_a_copied_signature_never_counts_twice",
    ],
    "70: an older release than the host's own": [
        "fast/runner/test_keys.py::test_a_release_that_was_left_is_reached_again_by_a_signed_rollback_only"
    ],
    "91 to 93, 100: paths, bodies and heads that are none": [
        f"{SERVE}::test_bad_requests_are_told_in_a_line",
        f"{SERVE}::test_a_head_that_is_too_long_or_never_ends_is_cut",
        f"{SERVE}::test_a_body_that_does_not_come_is_cut",
        f"{SERVE}::test_there_is_nothing_else",
    ],
    "97: no credential, or a bad one": [f"{SERVE}::test_every_route_is_closed_without_a_credential"],
    "98: a good credential of another": [
        f"{SERVE}::test_a_host_reads_and_writes_its_own_letters_only",
        f"{RIGHTS}::test_each_reads_and_writes_the_keys_of_its_table_and_no_others",
    ],
    "fault 16, 17, 19: old looks, lost answers, lost watches": [
        f"{SERVED}::test_a_commit_whose_answer_was_lost_is_known_by_its_name",
        f"{SERVED}::test_a_watcher_looks_for_itself_when_the_server_is_silent",
    ],
    "fault 23: a store that went back": [
        "fast/engine/test_went_back.py::test_nobody_is_admitted_and_it_is_said_why",
        f"{HOSTILE}::test_an_admission_record_that_went_back_is_noticed",
        f"{SERVED}::test_an_older_copy_that_was_put_back_is_noticed",
    ],
    "fault 42, 43: formats and protocols to come": [
        f"{HOSTILE}::test_a_record_that_is_none_stops_its_readers_and_every_grant",
        f"{LETTERS}::test_what_is_no_letter_is_refused_with_words",
        f"{CLI}::test_commands_over_broken_records_say_which_and_do_nothing",
    ],
    "I13: an audit that was cut or edited": [
        f"{HOSTILE}::test_an_audit_that_was_cut_or_edited_does_not_verify",
        "fast/agents/test_enrolments.py::test_every_change_is_told_in_the_audit_by_the_same_transaction",
    ],
}


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_are_there(row: str) -> None:
    for named in ROWS[row]:
        file, _, test = named.partition("::")
        assert re.search(rf"^def {test}\(", (TESTS / file).read_text(), re.MULTILINE), named

# SPDX-License-Identifier: MIT
# Sourced by check-all and .ci/run: run stages, show their output, add up what they count.
#
#   stage NAME command...   run a stage; what its last "N passed, N failed, N skipped" line says is added, a stage
#                           without such a line counts as one. Returns the status of the command.
#   stages_end              print the sum as the last line; status 1 when anything failed or nothing passed
#
# A stage that exits non-zero counts as at least one failure whatever it printed.

stages_passed=0 stages_failed=0 stages_skipped=0 stages_bad=''
stages_tmp=$(mktemp -d)
trap 'rm -rf "$stages_tmp"' EXIT
trap 'exit 130' INT TERM

stage() {
	stage_name=$1
	shift
	stage_began=$(date +%s)
	echo "== $stage_name"
	{
		"$@" 2>&1
		echo $? >"$stages_tmp/status"
	} | tee "$stages_tmp/log"
	stage_status=$(cat "$stages_tmp/status")
	stage_sum=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$stages_tmp/log" | tail -n 1)
	if [ -n "$stage_sum" ]; then
		# shellcheck disable=SC2086 # the line is six words
		set -- $stage_sum
	elif [ "$stage_status" = 0 ]; then
		set -- 1 passed, 0 failed, 0 skipped
	else
		set -- 0 passed, 1 failed, 0 skipped
	fi
	if [ "$stage_status" != 0 ] && [ "$3" = 0 ]; then
		set -- "$1" passed, 1 failed, "$5" skipped
	fi
	stages_passed=$((stages_passed + $1))
	stages_failed=$((stages_failed + $3))
	stages_skipped=$((stages_skipped + $5))
	[ "$3" = 0 ] || stages_bad="$stages_bad, $stage_name"
	echo "-- $stage_name: $([ "$3" = 0 ] && echo ok || echo FAILED), $(($(date +%s) - stage_began)) s"
	return "$stage_status"
}

stages_end() {
	[ -z "$stages_bad" ] || echo "failed: ${stages_bad#, }"
	echo "$stages_passed passed, $stages_failed failed, $stages_skipped skipped"
	[ $stages_failed = 0 ] && [ $stages_passed -gt 0 ]
}

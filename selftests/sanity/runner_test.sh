#!/bin/sh
# SPDX-License-Identifier: MIT
# The harness and the runner see failures: a test that fails, crashes, hangs, skips unasked, or does not run at all.
. "$(dirname "$0")/tap.sh"

run() { # arguments of runtests; its output ends with the sum
	(cd "$tap_tmp" && "$WR_TEST_BUILD/runtests" -b "$tap_tmp/b" -t 2 "$@")
}

program() { # NAME: a script from stdin, $tap_tmp/selftests/x/NAME_test
	mkdir -p "$tap_tmp/selftests/x" "$tap_tmp/b"
	{
		echo '#!/bin/sh'
		cat
	} >"$tap_tmp/selftests/x/$1_test"
	chmod +x "$tap_tmp/selftests/x/$1_test"
}

ends_with() { # LINE command...: the last line of the output, whatever the status
	want=$1
	shift
	"$@" >"$tap_tmp/ends" 2>&1
	cat "$tap_tmp/ends"
	[ "$(tail -n 1 "$tap_tmp/ends")" = "$want" ]
}

cat >"$tap_tmp/skips" <<'END'
# a comment
selftests/x/*:*skip* | no moon* | the moon is not always there
END

mkdir -p "$tap_tmp/b" "$tap_tmp/selftests/x"
if "$WR_TEST_CC" -D_GNU_SOURCE -w -isystem "$WR_TEST_KSELFTEST" -o "$tap_tmp/selftests/x/fault_test" \
	"$WR_TEST_SRCDIR/selftests/sanity/faults/must_fail.c"; then
	fault=selftests/x/fault_test
	fires 'a test that fails is named' 'failed global.a_false_one_fails' run -s skips $fault
	fires 'a test that crashes is named' 'failed global.a_crash_fails' run -s skips $fault
	fires 'its output is shown' 'Expected 1 \(1\) == 2 \(2\)' run -s skips $fault
	fires 'a skip nobody expects is a failure' 'unexpected skip global.a_skip_says_why: no moon in sight' run $fault
	passes 'each is counted once' ends_with '1 passed, 2 failed, 1 skipped' run -s skips $fault
	passes 'and so is the unexpected skip' ends_with '1 passed, 3 failed, 0 skipped' run $fault
else
	fires 'the faulty program compiles' 'never' false
fi

program good <<'END'
printf 'TAP version 13\n1..2\nok 1 one\nok 2 two\n'
END
passes 'a good program' ends_with '2 passed, 0 failed, 0 skipped' run selftests/x/good_test

program skip <<'END'
printf '1..2\nok 1 one\nok 2 a skip # SKIP no moon today\n'
END
passes 'an expected skip is counted apart' ends_with '1 passed, 0 failed, 1 skipped' run -s skips selftests/x/skip_test

program crash <<'END'
printf '1..1\nok 1 one\n'
kill -SEGV $$
END
fires 'a program that crashes after its tests' 'the program: killed by signal 11' run selftests/x/crash_test

program short <<'END'
printf '1..3\nok 1 one\n'
END
fires 'a program that leaves early' '1 results, 3 planned' run selftests/x/short_test

program silent </dev/null
fires 'a program without a test' 'no test ran' run selftests/x/silent_test

program status <<'END'
printf '1..1\nok 1 one\n'
exit 7
END
fires 'a status that is not of the harness' 'exit status 7' run selftests/x/status_test

program late <<'END'
printf '1..1\nok 1 one\n'
exit 1
END
fires 'a failure behind the last test' 'exit status 1 with no failed test' run selftests/x/late_test

program hang <<'END'
printf '1..1\n'
setsid sleep 1000 &
echo $! >"$(dirname "$0")/pid"
wait
END
fires 'a program that hangs' 'no end after 2 s' run selftests/x/hang_test
fires 'nothing of it is left' 'No such process' kill -0 "$(cat "$tap_tmp/selftests/x/pid")"

fires 'a program that is not there' 'cannot run' run selftests/x/absent_test
fires 'no program at all' '^0 passed, 0 failed, 0 skipped$' run
for n in 1 2 3; do
	cp "$tap_tmp/selftests/x/good_test" "$tap_tmp/selftests/x/good${n}_test"
done
passes 'several at once' ends_with '8 passed, 0 failed, 0 skipped' run -j 2 selftests/x/good_test \
	selftests/x/good1_test selftests/x/good2_test selftests/x/good3_test

echo 'no bars here' >"$tap_tmp/bad"
fires 'a list of skips that says no reason' 'bad:1: not' run -s bad selftests/x/good_test

stages() { # the sum over stages, with a failed command among them
	(
		cd "$WR_TEST_SRCDIR" || exit 1
		. tools/build/stages.sh
		stage a echo '3 passed, 0 failed, 1 skipped'
		stage b true
		"$@"
		stages_end
	)
}
passes 'stages add up' ends_with '4 passed, 0 failed, 1 skipped' stages true
fires 'a stage that fails without counting is a failure' '^4 passed, 1 failed, 1 skipped$' stages stage c false
fires 'a stage that counts and fails is one too' '^9 passed, 1 failed, 1 skipped$' \
	stages stage c sh -c 'echo 5 passed, 0 failed, 0 skipped; exit 3'

fuzz() { # fuzzers that are scripts
	(cd "$tap_tmp" && "$WR_TEST_SRCDIR/tools/build/run-fuzz" "$tap_tmp/b" 1 2 "$@")
}
printf '#!/bin/sh\necho "stat::number_of_executed_units: 7"\n' >"$tap_tmp/quiet_fuzz"
printf '#!/bin/sh\necho "a crash"\nexit 77\n' >"$tap_tmp/loud_fuzz"
chmod +x "$tap_tmp/quiet_fuzz" "$tap_tmp/loud_fuzz"
passes 'a fuzzer that finds nothing' ends_with '1 passed, 0 failed, 0 skipped' fuzz "$tap_tmp/quiet_fuzz"
fires 'a fuzzer that finds something' 'FAIL loud: inputs in' fuzz "$tap_tmp/quiet_fuzz" "$tap_tmp/loud_fuzz"
fires 'and both are counted' '^1 passed, 1 failed, 0 skipped$' fuzz "$tap_tmp/quiet_fuzz" "$tap_tmp/loud_fuzz"
fires 'no fuzzer at all' 'no fuzzer' fuzz

finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# check-docs fires on what is missing from the text and on what the text says too much.
. "$(dirname "$0")/tap.sh"

docs() {
	(cd "$copy" && tools/build/check-docs)
}

api() { # TEXT: one more declaration at the end of a header
	fresh
	printf '%s\n' "$1" >>"$copy/include/weir/base.h"
}

fresh
passes 'the tree as it is' docs

api 'WEIR_API int weir_planted(int a);'
fires 'a function without a block' 'weir_planted has no kernel-doc block right above it' docs

whole='/**
 * weir_planted() - Plant a fault.
 * @a: One.
 * @fn: Two.
 *
 * Context: Any.
 * Return:  0.
 * Since:   0.1
 */
WEIR_API int weir_planted(const struct weir_error *a, int (*fn)(void *arg, int n));'
api "$whole"
passes 'a function with all it needs' docs

api "$(printf '%s' "$whole" | sed 's/ 0\.$/ 0 or -EINVAL./')"
fires 'an int that can fail and need not be looked at' 'weir_planted can fail and is not WEIR_MUST_CHECK' docs

api "$(printf '%s' "$whole" | sed 's/weir_planted() -/weir_panted() -/')"
fires 'a block that names another function' 'does not begin with "weir_planted\(\) - "' docs

api "$(printf '%s' "$whole" | sed '/@a:/d')"
fires 'a parameter without a word' 'weir_planted does not describe @a' docs

api "$(printf '%s' "$whole" | sed '/@fn:/d')"
fires 'a callback without a word' 'weir_planted does not describe @fn' docs

api "$(printf '%s' "$whole" | sed 's/@a: One./&\n * @b: Gone./')"
fires 'a parameter that is not there' 'weir_planted describes @b, which it does not take' docs

for word in Context Return Since; do
	api "$(printf '%s' "$whole" | sed "/$word:/d")"
	fires "a block without $word" "weir_planted says no $word:" docs
done

api "$(printf '%s' "$whole" | sed 's/ 0\.$/ 0 or -EXFULL./')"
fires 'an errno without a meaning' '-EXFULL is named in a public header and not in docs/errors.md' docs

fresh
rm "$copy/docs/errors.md"
fires 'no list of errors' 'there is no docs/errors.md' docs

fresh
echo '[planted](docs/planted.md)' >>"$copy/README.md"
fires 'a link that leads nowhere' 'README.md: docs/planted.md leads nowhere' docs

fresh
echo '[planted](docs/changes.md#planted)' >>"$copy/README.md"
fires 'a link to a heading that is gone' 'docs/changes.md#planted: no such heading' docs

fresh
mkdir -p "$copy/lib/lock"
printf '\tX(PLANTED, 0u, "a lock") \\\n' >>"$copy/lib/lock/rank.h"
fires 'a rank that the table lacks' 'docs/locking.md is not what lib/lock/rank.h says' docs

fresh
printf '#define P_METRICS(X) X(PLANTED, COUNTER, "weir_planted", "", "Planted")\n' >>"$copy/lib/stream/stream.c"
fires 'a series that the dashboard does not show' 'docs/grafana.json does not show the series' docs

fresh
mkdir -p "$copy/tools/weir"
echo 'int x;' >"$copy/tools/weir/cmd_planted.c"
fires 'a command without a page' 'cmd_planted.c has no docs/man/weir-planted.1' docs

fresh
mkdir -p "$copy/docs/man"
printf '.TH WEIR-PLANTED 1\n.SH NAME\n.SH SYNOPSIS\n' >"$copy/docs/man/weir-planted.1"
fires 'a page without a command' 'weir-planted.1 describes a command that is not there' docs
fires 'a page without a section' 'weir-planted.1 has no section DESCRIPTION' docs

fresh
rm "$copy"/include/weir/*.h
fires 'no public header at all' 'nothing to check: no WEIR_API function' docs

finish

# SPDX-License-Identifier: MIT
# Which module calls which: the only statement of it. `make check-arrows` compares this with the includes and with
# the symbols of the objects. A module names all it uses directly, and only modules above its own line here.
deps_base :=
deps_lock := base

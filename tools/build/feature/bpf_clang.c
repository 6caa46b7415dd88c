/* SPDX-License-Identifier: MIT */
/* feature: optional bpf deb=clang */
/* A clang that compiles for BPF, and the headers that programs need. */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

int answer = sizeof(union bpf_attr);

/* SPDX-License-Identifier: MIT */
/*
 * See trace/step.h. Which instructions are executed without a step: arch/x86/kernel/uprobes.c of
 * Linux, branch_setup_xol_ops() and push_setup_xol_ops(): nop of one byte, push of a register, and
 * relative calls and jumps without prefixes. Each of these was measured here, and so was what is
 * stepped: mov, sub, ret, and endbr64, with which every function begins under -fcf-protection.
 *
 * The way there is decoded only as far as compilers begin functions: an instruction that is not in
 * the list ends the search. A nop of five bytes is passed over and never chosen: kernels from 6.18
 * replace one under a breakpoint by a call, which writes below the stack pointer.
 */
#include "trace/step.h"

#include <errno.h>

#if defined(__x86_64__)

#define RSP 4u
#define RSI 6u
#define RDI 7u

/* What an instruction with a byte of modes writes to. */
enum writes { NOTHING, THE_REGISTER, THE_OPERAND };

struct form {
	uint8_t opcode;
	uint8_t writes;
	uint8_t immediate; /* bytes behind it */
};

/* Opcodes of one byte with a byte of modes. */
static const struct form one_byte[] = {
	{0x01, THE_OPERAND, 0},	 {0x03, THE_REGISTER, 0}, {0x09, THE_OPERAND, 0},
	{0x0b, THE_REGISTER, 0}, {0x21, THE_OPERAND, 0},  {0x23, THE_REGISTER, 0},
	{0x29, THE_OPERAND, 0},	 {0x2b, THE_REGISTER, 0}, {0x31, THE_OPERAND, 0},
	{0x33, THE_REGISTER, 0}, {0x39, NOTHING, 0},	  {0x3b, NOTHING, 0},
	{0x63, THE_REGISTER, 0}, {0x81, THE_OPERAND, 4},  {0x83, THE_OPERAND, 1},
	{0x85, NOTHING, 0},	 {0x89, THE_OPERAND, 0},  {0x8b, THE_REGISTER, 0},
	{0x8d, THE_REGISTER, 0}, {0xc7, THE_OPERAND, 4},
};

/* Those behind 0f: nop of several bytes, endbr64, mov from smaller ones. */
static const struct form two_bytes[] = {
	{0x1e, NOTHING, 0},	 {0x1f, NOTHING, 0},	  {0xb6, THE_REGISTER, 0},
	{0xb7, THE_REGISTER, 0}, {0xbe, THE_REGISTER, 0}, {0xbf, THE_REGISTER, 0},
};

struct decoding {
	const uint8_t *code;
	size_t bytes, at;
	uint8_t rex;
	bool is_16_bit;
	uint32_t kept; /* registers that must stay as they are, by bit */
};

static bool is_executed(const uint8_t *code, size_t bytes)
{
	if (bytes < 6)
		return false;
	if (code[0] == 0x41)
		return code[1] >= 0x50 && code[1] <= 0x57;
	if (code[0] == 0x0f)
		return code[1] >= 0x80 && code[1] <= 0x8f;
	return code[0] == 0x90 || (code[0] >= 0x50 && code[0] <= 0x57) ||
	       (code[0] >= 0x70 && code[0] <= 0x7f) || code[0] == 0xe8 || code[0] == 0xe9 ||
	       code[0] == 0xeb;
}

/* The byte of modes and what belongs to it; false: the code ends, or a kept register is written. */
static bool pass_modes(struct decoding *d, enum writes writes)
{
	uint8_t modes, mod, reg, operand;

	if (d->at >= d->bytes)
		return false;
	modes = d->code[d->at++];
	mod = modes >> 6;
	reg = (uint8_t)((modes >> 3 & 7) | (d->rex & 4) << 1);
	operand = (uint8_t)((modes & 7) | (d->rex & 1) << 3);
	if (mod != 3 && (modes & 7) == 4) {
		/* A base of 5 without a displacement of its own has one of four bytes. */
		if (d->at < d->bytes && mod == 0 && (d->code[d->at] & 7) == 5)
			d->at += 4;
		d->at++;
	}
	if (mod == 1)
		d->at += 1;
	else if (mod == 2 || (mod == 0 && (modes & 7) == 5))
		d->at += 4;
	if (writes == THE_REGISTER)
		return !(d->kept >> reg & 1);
	return writes != THE_OPERAND || mod != 3 || !(d->kept >> operand & 1);
}

static bool pass_form(struct decoding *d, const struct form *forms, size_t nr, uint8_t opcode)
{
	for (size_t i = 0; i < nr; i++) {
		enum writes writes = (enum writes)forms[i].writes;

		if (forms[i].opcode != opcode)
			continue;
		/* /7 compares; an immediate is shorter under a 16-bit prefix. */
		if ((opcode == 0x81 || opcode == 0x83) && d->at < d->bytes &&
		    (d->code[d->at] >> 3 & 7) == 7)
			writes = NOTHING;
		if (d->is_16_bit && forms[i].immediate == 4)
			return false;
		if (!pass_modes(d, writes))
			return false;
		d->at += forms[i].immediate;
		return true;
	}
	return false;
}

static bool pass_opcode(struct decoding *d)
{
	uint8_t opcode = d->code[d->at++];

	if (opcode == 0x0f) {
		if (d->at >= d->bytes)
			return false;
		opcode = d->code[d->at++];
		return pass_form(d, two_bytes, sizeof(two_bytes) / sizeof(two_bytes[0]), opcode);
	}
	/* mov of a number to a register */
	if (opcode >= 0xb8 && opcode <= 0xbf) {
		d->at += d->rex & 8 ? 8 : 4;
		return !d->is_16_bit && !(d->kept >> ((opcode & 7) | (d->rex & 1) << 3) & 1);
	}
	/* and, cmp of eax with a number; xchg of eax with itself, which is a nop of two bytes */
	if (opcode == 0x25 || opcode == 0x3d) {
		d->at += 4;
		return !d->is_16_bit;
	}
	if (opcode == 0x90)
		return true;
	return pass_form(d, one_byte, sizeof(one_byte) / sizeof(one_byte[0]), opcode);
}

/* One instruction; false: it is not known, or writes what must stay. */
static bool pass(struct decoding *d)
{
	d->rex = 0;
	d->is_16_bit = false;
	/* 16-bit numbers, cs and fs, which nops and thread-local variables bear, and that of endbr64 */
	while (d->at < d->bytes && (d->code[d->at] == 0x66 || d->code[d->at] == 0x2e ||
				    d->code[d->at] == 0x64 || d->code[d->at] == 0xf3))
		d->is_16_bit |= d->code[d->at++] == 0x66;
	if (d->at < d->bytes && (d->code[d->at] & 0xf0) == 0x40)
		d->rex = d->code[d->at++];
	return d->at < d->bytes && pass_opcode(d) && d->at <= d->bytes;
}

int wr_step_place(const uint8_t *code, size_t bytes, bool second, uint32_t *ret)
{
	struct decoding d = {.code = code,
			     .bytes = bytes,
			     .kept = 1u << RSP | 1u << RDI | (second ? 1u << RSI : 0)};

	while (d.at < bytes) {
		if (is_executed(code + d.at, bytes - d.at)) {
			*ret = (uint32_t)d.at;
			return 0;
		}
		if (!pass(&d))
			break;
	}
	return -EOPNOTSUPP;
}

#else

int wr_step_place(const uint8_t *code, size_t bytes, bool second, uint32_t *ret)
{
	(void)code;
	(void)bytes;
	(void)second;
	(void)ret;
	return -EOPNOTSUPP;
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * peak.h - What a run costs: memory, page cache, CPU time, bytes from the device.
 *
 * Everything is read from the kernel; nothing is estimated.
 */
#ifndef WR_TOOLS_PEAK_H
#define WR_TOOLS_PEAK_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/base.h>

/**
 * struct wr_peak_memory - Memory of this process, from /proc/self/status.
 * @high_water_bytes: VmHWM, the most it ever had resident; hugetlb pages not included.
 * @anon_bytes:       RssAnon, now.
 * @file_bytes:       RssFile, now.
 * @hugetlb_bytes:    HugetlbPages, now.
 */
struct wr_peak_memory {
	uint64_t high_water_bytes;
	uint64_t anon_bytes;
	uint64_t file_bytes;
	uint64_t hugetlb_bytes;
};

/* Return: 0 or -EIO when /proc is not there. */
int wr_peak_memory(struct wr_peak_memory *ret);

/* Write a setting of the kernel's, which is there; 0 or a negative errno. */
int wr_peak_write(const char *path, const char *text);

/* The most memory this process ever had, hugetlb pages that it has now included. */
uint64_t wr_peak_bytes(void);

/* Bytes the block layer has read on behalf of this process so far; 0 when not told. */
uint64_t wr_peak_read_bytes(void);

/* Drop a file's clean pages from the page cache; pages somebody has mapped stay. */
void wr_peak_drop_cache(const char *path);

/* User and system seconds of this process and all its threads. */
double wr_peak_cpu_seconds(void);

/**
 * wr_peak_cached() - How much of a file is in the page cache.
 * @path: A regular file.
 * @ret:  Bytes, in whole pages.
 *
 * Return: 0 or a negative errno.
 */
int wr_peak_cached(const char *path, uint64_t *ret);

/**
 * struct wr_peak_device - The block device below a file.
 * @name:          Of the disk or the partition: "vda1".
 * @queue:         Folder of its queue's settings in /sys, "" when it has none.
 * @read_ahead_kb: As found.
 * @scheduler:     As found: "mq-deadline".
 * @changed:       read_ahead_kb was set by us.
 */
struct wr_peak_device {
	char name[64];
	char queue[320];
	uint64_t read_ahead_kb;
	char scheduler[32];
	bool changed;
};

/**
 * wr_peak_device_find() - The device that holds @path.
 * @path: A file or directory.
 * @ret:  Untouched on failure.
 *
 * Return: 0, -ENODEV (not on a block device of its own: tmpfs, overlay, network),
 *         or the error of stat().
 */
int wr_peak_device_find(const char *path, struct wr_peak_device *ret);

/* Change read_ahead_kb until wr_peak_device_restore(). 0, -EACCES, -EOPNOTSUPP. */
int wr_peak_device_set_read_ahead(struct wr_peak_device *dev, uint64_t kb);
void wr_peak_device_restore(struct wr_peak_device *dev);

#endif /* WR_TOOLS_PEAK_H */

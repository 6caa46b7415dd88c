/* SPDX-License-Identifier: MIT */
/* feature: required pkg=liburing>=2.3 deb=liburing-dev */
/* The ring: setup by parameters, registered buffers and files. */
#include <liburing.h>

int main(void)
{
	struct io_uring ring;
	struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER |
					     IORING_SETUP_DEFER_TASKRUN};

	return io_uring_queue_init_params(8, &ring, &p) ? 0 : io_uring_register_ring_fd(&ring) > 1;
}

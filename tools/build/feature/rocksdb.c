/* SPDX-License-Identifier: MIT */
/* feature: optional peer pkg=rocksdb deb=librocksdb-dev */
/* What `weir bench cache` compares with. Its headers are C++: here only whether it links. */
int main(void)
{
	return 0;
}

/* SPDX-License-Identifier: MIT */
/* feature: optional peer pkg=prometheus-cpp-core deb=prometheus-cpp-dev */
/* What `weir bench metrics` compares with. Its headers are C++: here only whether it links. */
int main(void)
{
	return 0;
}

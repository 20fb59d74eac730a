static int parameters(int a, int (*b)(int, int), int c, int d, int e, int f, int g)
{
        return a + c + d + e + f + g;
}

TEST(seven_rows)
{
}

static int nesting(int a)
{
        LIST_FOR_EACH(a, b) {
                do {
                        if (a)
                                switch (a) {
                                case 1:
                                        if (a)
                                                return 1;
                                }
                } while (a);
        }
        return 0;
}

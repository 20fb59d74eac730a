#include "base/good.h"

#include <stdio.h>

/* xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx */
static int at_every_limit(int a, int b, int c, int d, int e, int f)
{
        for (int i = 0; i < a; i++)
                while (b-- > 0) {
                        if (c) {
                                return 1;
                        } else if (d) {
                                if (e)
                                        return 2;
                        } else {
                                return f;
                        }
                }
        switch (a) {
        case 1:
                if (b)
                        for (;;)
                                if (c)
                                        return 3;
                break;
        default:
                break;
        }
        const char *text = "strcpy(a, b) { { { { in a string";
        return text[0] == '{' ? 1 : sizeof (struct good);












































}

static const struct good all[] = {
        { 1 }, { 2 },
};

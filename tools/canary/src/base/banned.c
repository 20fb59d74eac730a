#include <string.h>

#define COPY(a, b) strcpy((a), \
        (b))

void banned(char *a);
void banned(char *a)
{
        if (strtok(a, "x"))
                COPY(a, "y");
}

typedef struct pair {
        int a;
} pair_t;

/* SPDX-License-Identifier: ISC */
/*
 * common.pml - what both models need: the seeded mistakes, budgets from the environment, sets of processes as bits.
 */
byte mistake; /* the number of what is done wrong; 0: nothing */
#define RIGHT(n) (mistake != (n))

c_decl {
extern char *getenv(const char *);
extern int atoi(const char *);
};
c_code {
static int budget(const char *name, int otherwise)
{
    const char *value = getenv(name);

    return value != 0 ? atoi(value) : otherwise;
}
};

#define NOBODY       15
#define NO_SLOT      15
#define EVERYBODY    (BIT(WORKERS) - 1)
#define BIT(n)       (1 << (n))
#define IS_SET(m, n) (((m) >> (n)) & 1)

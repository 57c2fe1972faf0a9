/* SPDX-License-Identifier: ISC */
/*
 * replay.pml - lease.pml follows a trace of client/lease.c, the file that $TRACE names (traced.c writes it).
 *
 * What is seen of a process is each access to shared memory, its death, and what it begins by itself (a sweep, a look
 * without being woken, to leave). What it reads is not in the trace, but follows from the changes. A step that the trace
 * does not show next leads nowhere. That the end is come by is reported as an error: the trace is one of the model's.
 */
#define SLOT      1
#define WAIT      2
#define SHOW      3
#define HIDE      4
#define WAKE      5
#define TICKET    6
#define DIED      7
#define SWEEP     8  /* begins */
#define LOOK      9  /* nobody woke it */
#define LEAVE     10 /* its time is up */
#define SLOT_READ 11 /* these also: a compare-and-swap that failed */
#define WAIT_READ 12
#define BITS_READ 13
#define WAKE_READ 14

bool astray, followed;
short position;
int event;

c_decl {
    extern int trace_event(int position);
    extern int trace_length(void);
};
c_code {
    static int trace[8192], length = -1;

    static void trace_read(void)
    {
        FILE *file = fopen(getenv("TRACE"), "r");
        static const char kinds[] = "?sw+-!txblvrqBk";
        int who, n, value;
        char what;

        length = 0;
        if (file == NULL)
            abort();
        while (length < 8192 && fscanf(file, "%d %c %d %d", &who, &what, &n, &value) == 4)
            trace[length++] = ((who * 16 + (int)(strchr(kinds, what) - kinds)) * 8 + n) * 256 + value;
        fclose(file);
    }
    int trace_length(void)
    {
        if (length < 0)
            trace_read();
        return length;
    }
    int trace_event(int position)
    {
        return position < trace_length() ? trace[position] : -1;
    }
};

#define STATE_VALUE(s)                                                                                                 \
    (slot[s].state == IDLE -> 0 : (slot[s].state == LEASED -> 1 : (slot[s].state == GRANTED -> 2 : 3)))
#define LENT(s)       (slot[s].state == LEASED || slot[s].state == GRANTED)
#define SLOT_VALUE(s) (STATE_VALUE(s) * 32 + (LENT(s) -> slot[s].by * 2 + slot[s].retire : 0))
#define WAIT_VALUE(w) (wait[w].state == NONE -> 0 : (wait[w].state == WAITING -> 1 : 2 + wait[w].slot))

#define ON_TRACE !astray
#define SEEN(what, n_, value)                                                                                          \
    event = ((me * 16 + what) * 8 + n_) * 256 + value;                                                                  \
    c_code {                                                                                                           \
        now.astray = now.astray || now.event != trace_event(now.position);                                            \
        now.position++;                                                                                                \
        now.event = 0;                                                                                                 \
        now.followed = !now.astray && now.position == trace_length();                                                  \
    };                                                                                                                 \
    assert(!followed)

/* Tickets themselves: what is left of one that was read and has ended since is no rank. */
byte ticket[WORKERS], oldest[WORKERS + 1], next_ticket;
#define DRAWN(w)    ticket[w] = next_ticket; next_ticket++
#define CHOSEN(b)   oldest[me] = ticket[b]
#define IS_OLDER(b) (ticket[b] < oldest[me])

/* How old a grant is, is not in the trace. */
#define LIES_TOO_LONG                                                                                                  \
    if                                                                                                                 \
    :: impatient = true                                                                                                \
    :: impatient = false                                                                                               \
    fi

#define IF_REPLAY(...) __VA_ARGS__
#define REPLAYS        true

/*
 * The protocol of stream, spool, rotation, slot and base, for spin: docs/protocol.md explains it.
 *
 * Each step names, after an @, the function it stands for; tests/py/test_model.py checks that these exist.
 * A step is what another program or a power cut can see: one system call that matters, or several of which
 * nobody sees the middle. tests/model/run.py has the configurations: budgets of what goes wrong, and PLANT_*
 * words that take one step out, each of which must be found.
 *
 * An LSN is the number of a WAL record: a transaction's commit record stands at k and ends at k + 1. What a
 * transaction is does not matter, only whose it is: hist[k] is the timeline on which it was committed, or 0.
 * In the spool a transaction is two pieces, its beginning and its end.
 */

#ifndef W
#define W 4             /* records of WAL */
#endif
#ifndef KILLS
#define KILLS 0         /* kill -9 of a program of ours or of pg_recvlogical */
#endif
#ifndef CUTS
#define CUTS 0          /* power cuts of the backup host */
#endif
#ifndef CRASHES
#define CRASHES 0       /* crashes of the server: it forgets the slot's position */
#endif
#ifndef PROMOTIONS
#define PROMOTIONS 0    /* a standby takes over, perhaps without the last records */
#endif
#ifndef DROPS
#define DROPS 0         /* somebody drops the slot */
#endif
#ifndef MOVES
#define MOVES 0         /* somebody moves the slot, or recreates it under its name */
#endif
#ifndef DAMAGES
#define DAMAGES 0       /* a piece of the spool turns into zeros */
#endif
#ifndef LOSSES
#define LOSSES 0        /* the whole spool is gone */
#endif
#ifndef STOPS
#define STOPS 0         /* clean stops of scribe-stream */
#endif
#ifndef ROTATIONS
#define ROTATIONS 2
#endif
#ifndef DUMPS
#define DUMPS 0
#endif
#ifndef INITS
#define INITS 0         /* new chains after a broken one */
#endif
#ifndef STREAMS
#define STREAMS 1
#endif
#ifndef ROTATORS
#define ROTATORS 1
#endif

/* Where nothing depends on when a transaction was committed, all are there from the beginning. */
#define LATE (DUMPS || PROMOTIONS || INITS || MOVES)

/* libpq may be led to another server between a start's look at it and pg_recvlogical's connection: an open fault. */
#ifdef OPEN_other_server
#define SAME_SERVER(me) true
#define UNWATCHED true
#else
#define SAME_SERVER(me) (r[me].tl == timeline)
#define UNWATCHED (!r[0].alive && rotate_lock == 0)         /* nobody is between the look and the connection */
#endif

#define NI 5            /* files in the spool, for their inodes */
#define NP 3            /* numbers of closed parts */
#define K 5             /* pieces that a file can hold */
#define ZERO 255
#define NONE 15

#define PIECE(k, tl, last) (1 + (k) * 4 + ((tl) - 1) * 2 + (last))
#define RECORD(v) (((v) - 1) / 4)
#define LINE(v) (((((v) - 1) / 2) & 1) + 1)
#define LAST(v) (((v) - 1) & 1)
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define MIN(a, b) ((a) < (b) -> (a) : (b))

/* @stream/recovery.py:followed_timeline */
#define FOLLOWED (p_tl != 0 -> p_tl : ((archived >= chain_from && archived > 0) -> seg_tl : id_tl))

/* Who holds a lock, who is to be killed. */
#define STREAM 1        /* and STREAM + 1 */
#define ROTATE 3        /* and ROTATE + 1 */
#define DUMP 5
#define INIT 6
#define RECEIVER 7      /* and RECEIVER + 1 */

/* --- the server --- */
byte wal;                       /* how many records there are */
byte hist[W];
byte timeline = 1, switched;    /* switched: where timeline 2 left the first one */
bool slot = 1;
byte confirmed, saved;          /* saved: what a restart of the server remembers */
byte connected;                 /* whose connection reads the slot: a receiver's number, 0 nobody's */

/* --- pg_recvlogical --- */
typedef Receiver {
  bool alive;
  bool hup;                     /* SIGHUP has arrived */
  byte fd;                      /* inode, 0 none */
  byte start;                   /* --startpos */
  byte tl;                      /* the server's timeline when it was started */
  bool orphan;                  /* its scribe-stream is gone: it will be killed at some moment (PR_SET_PDEATHSIG) */
}
Receiver r[STREAMS];

/* --- the backup host's disk: what programs see, and beside it what survives a power cut --- */
typedef File { byte n; byte kept; byte piece[K] }   /* kept: how many pieces are on disk */
File f[NI];
byte part[NP], stream_file, d_part[NP], d_stream_file;      /* names: inodes, 0 none; d_: on disk */
byte hint;                      /* state.json: the highest number of a part */
byte log_said; bool log_there;  /* receiver.log: the highest position confirmed */
byte c_lsn, c_boot;             /* confirmed.json; c_boot: 0 no file, 1 this boot, 2 another one, 3 settled */
byte p_pos, p_tl;               /* stream.json: position and timeline; p_tl 0: no file */
byte spool_id = 1, id = 1, chain_from, id_tl = 1;           /* spool.json, archive.json */
byte left_at = NONE;            /* archive.json: where the chain went on to timeline 2 */
bool broken;                    /* broken.json */
bool intent;                    /* init.json */
byte archived, d_archived;      /* where the last segment ends; d_: by names on disk */
bool data_kept = 1, segment_torn;
byte arch[W];                   /* the transactions in segments: their timelines */
byte seg_tl = 1;                /* the last segment's timeline */
short ends;                     /* bits: LSNs at which segments end */
short cuts;                     /* bits: spool/cuts */
short bases, old_bases;         /* bits: consistent points of bases; old_bases: those on timeline 1 */
byte said;                      /* the highest LSN that a rotation has reported */
byte rotate_lock, stream_lock, base_lock;

/* --- what happens, and what is only watched --- */
byte boot;                      /* counts power cuts */
byte victim;
byte kills = KILLS, power_cuts = CUTS, crashes = CRASHES, promotions = PROMOTIONS, drops = DROPS, moves = MOVES;
byte damages = DAMAGES, losses = LOSSES, stops = STOPS, rotations = ROTATIONS, dumps = DUMPS, inits = INITS;
byte sent;                      /* the highest position confirmed to the server in this chain */
byte received;                  /* the end of the last transaction that ever reached the spool */
byte hostile;                   /* something happened that breaks a chain rightly: 1 the chain, 2 the one that is being begun */
short stale_bases;              /* bits: bases of a history that the server left */

/* What scan() finds; only within one step. */
byte sc_pos, sc_f, sc_o, sc_low, sc_open, sc_c[W], i_, j_, v_, ino_, x_;
bool sc_bad, sc_missing, sc_torn, sc_front;

inline forget() {
  sc_pos = 0; sc_f = 0; sc_o = 0; sc_low = 0; sc_open = 0; i_ = 0; j_ = 0; v_ = 0; ino_ = 0; x_ = 0;
  sc_bad = 0; sc_missing = 0; sc_torn = 0; sc_front = 0;
  sc_c[0] = 0; sc_c[1] = 0;
#if W > 2
  sc_c[2] = 0;
#endif
#if W > 3
  sc_c[3] = 0;
#endif
#if W > 4
  sc_c[4] = 0;
#endif
#if W > 5
  sc_c[5] = 0;
#endif
}

/* @spool/contents.py:batches @spool/contents.py:find_start @spool/contents.py:frames_after
   The whole transactions of the spool's files as one tape. all: the file being written, too. */
inline scan(all) {
  forget(); sc_low = NONE; sc_front = 1; i_ = 1;
  do
  :: i_ <= NP + 1 ->
     ino_ = (i_ <= NP -> part[(i_ - 1) % NP] : (all -> stream_file : 0));
     j_ = 0;
     do
     :: ino_ != 0 && j_ < f[ino_ - 1].n ->
        v_ = f[ino_ - 1].piece[j_];
        x_ = (v_ == ZERO -> 0 : RECORD(v_));
        if
        :: sc_bad || sc_missing ->
           sc_torn = 1;
           if :: v_ != ZERO && x_ >= MAX(sc_pos, archived) -> sc_low = MIN(sc_low, x_) :: else fi
        :: else ->
           if
           :: v_ == ZERO -> sc_bad = 1; sc_torn = 1
           :: v_ != ZERO && LAST(v_) && sc_open == v_ - 1 ->
              sc_c[x_] = LINE(v_); sc_pos = x_ + 1; sc_f = i_; sc_o = j_ + 1; sc_open = 0; sc_low = NONE; sc_torn = 0
           :: v_ != ZERO && LAST(v_) && sc_open != v_ - 1 ->
              if
              :: sc_front && x_ + 1 <= archived -> sc_f = i_; sc_o = j_ + 1
              :: sc_front && x_ + 1 > archived -> sc_missing = 1
              :: !sc_front -> sc_bad = 1; sc_torn = 1;
                 if :: x_ >= MAX(sc_pos, archived) -> sc_low = MIN(sc_low, x_) :: else fi
              fi
           :: v_ != ZERO && !LAST(v_) ->
              if
              :: sc_open || x_ < sc_pos -> sc_bad = 1
              :: else -> sc_open = v_
              fi;
              sc_torn = 1;
              if :: x_ >= MAX(sc_pos, archived) -> sc_low = MIN(sc_low, x_) :: else fi
           fi
        fi;
        sc_front = 0;
        j_++
     :: else -> break
     od;
     i_++
  :: else -> break
  od
}

/* No committed transaction of which the server was told that it is safe is missing from spool and segments. */
inline check_kept() {
  d_step {
    scan(1);
    i_ = chain_from;
    do
    :: i_ < sent && i_ < W -> assert(hostile || hist[i_] == 0 || arch[i_] == hist[i_] || sc_c[i_] == hist[i_]); i_++
    :: else -> break
    od;
    forget()
  }
}

inline declare_broken() {       /* @archive/layout.py:declare_broken */
  assert(hostile);              /* without one of the faults that lose something no chain breaks, ever */
  printf("broken\n"); broken = 1
}

/* Without a power cut nobody asks what is on disk. */
inline sync_names() {           /* @common/files.py:sync_directory */
#if CUTS
  d_part[0] = part[0]; d_part[1] = part[1]; d_part[2] = part[2]; d_stream_file = stream_file; printf("names are on disk\n")
#else
  skip
#endif
}

inline sync_file(number) {      /* @common/files.py:sync_file */
#if CUTS
  f[number - 1].kept = f[number - 1].n; printf("fsync of file %d\n", number)
#else
  skip
#endif
}

/* A name for a file that nobody has: neither a name nor a descriptor. */
inline new_file(where) {
  x_ = 1;
  do
  :: x_ <= NI && (x_ == stream_file || x_ == d_stream_file || x_ == part[0] || x_ == part[1] || x_ == part[2] ||
      x_ == d_part[0] || x_ == d_part[1] || x_ == d_part[2] || x_ == r[0].fd || x_ == r[STREAMS - 1].fd) -> x_++
  :: else -> break
  od;
  assert(x_ <= NI);
  f[x_ - 1].n = 0; f[x_ - 1].kept = 0;
  f[x_ - 1].piece[0] = 0; f[x_ - 1].piece[1] = 0; f[x_ - 1].piece[2] = 0; f[x_ - 1].piece[3] = 0;
  f[x_ - 1].piece[4] = 0;
  where = x_; printf("file %d is new\n", x_); x_ = 0
}

inline free_file(number) {      /* so that states that differ only in what is gone are one */
  if
  :: number != 0 && number != r[0].fd && number != r[STREAMS - 1].fd && number != d_part[0] && number != d_part[1] &&
     number != d_part[2] && number != d_stream_file ->
     f[number - 1].n = 0; f[number - 1].kept = 0; f[number - 1].piece[0] = 0; f[number - 1].piece[1] = 0;
     f[number - 1].piece[2] = 0; f[number - 1].piece[3] = 0; f[number - 1].piece[4] = 0
  :: else
  fi
}

/* Everything in the spool on disk, the names too. @spool/contents.py:sync */
inline sync_spool() {
  i_ = 0;
  do
  :: i_ < NI -> i_++; sync_file(i_)
  :: else -> break
  od;
  i_ = 0; sync_names()
}

inline create_stream() {        /* @spool/contents.py:create_stream */
  if :: stream_file == 0 -> new_file(stream_file) :: else fi;
  sync_names()
}

/* --- what goes wrong, and who works on the server --- */

proctype world() {
  byte mode, s;
  do
#if LATE
  :: atomic { !intent && wal < W - (inits && broken) -> hist[wal] = timeline; wal++; printf("commit %d to %d\n", wal - 1, wal) }
#endif
  :: false -> skip
#if CRASHES
  :: saved != confirmed -> saved = confirmed; printf("checkpoint\n")                       /* a checkpoint of the server */
  :: atomic { crashes > 0 -> crashes--; confirmed = saved; connected = 0; printf("server crash: slot at %d\n", confirmed) }
#endif
#if PROMOTIONS
#if !CRASHES
  :: saved != confirmed -> saved = confirmed
#endif
  :: atomic {
       promotions > 0 && wal > 0 -> promotions--;
       if :: s = wal :: s = wal - 1 :: wal > 1 -> s = wal - 2 fi;
       if :: s < received || s < sent || s < confirmed -> hostile = 3 :: else fi;
       d_step {
         connected = 0; timeline = 2; switched = s; printf("promotion at %d\n", s);
         confirmed = MIN(saved, s); saved = confirmed;
         do :: wal > s -> wal--; hist[wal] = 0 :: else -> break od;
         mode = s + 1;
         do :: mode <= W -> stale_bases = stale_bases | (bases & (1 << mode)); mode++ :: else -> break od;
         mode = 0; s = 0
       }
     }
#endif
#if DROPS
  :: atomic { drops > 0 && slot && connected == 0 -> drops--; slot = 0; confirmed = 0; saved = 0; hostile = 3 }
#endif
#if MOVES
  :: atomic { moves > 0 && slot && connected == 0 && confirmed < wal && !intent && UNWATCHED ->
       moves--; confirmed = wal; saved = wal; hostile = 3 }
#endif
#if DAMAGES
  :: atomic {
       damages > 0 && rotate_lock == 0 ->               /* not between the two times that a rotation reads it */
       if
       :: part[0] && f[part[0] - 1].n > 0 -> s = part[0]
       :: part[1] && f[part[1] - 1].n > 0 -> s = part[1]
       :: stream_file && f[stream_file - 1].n > 0 -> s = stream_file
       :: else -> s = 0
       fi;
       if
       :: s -> damages--; hostile = 3;
          if :: f[s - 1].piece[f[s - 1].n - 1] = ZERO :: f[s - 1].piece[0] = ZERO fi
       :: else
       fi;
       s = 0
     }
#endif
#if LOSSES
  :: atomic {
       losses > 0 && r[0].alive == 0 && rotate_lock == 0 -> losses--; hostile = 3;
       d_step {
         stream_file = 0; part[0] = 0; part[1] = 0; part[2] = 0; sync_names();
         spool_id = 0; p_tl = 0; p_pos = 0; c_boot = 0; c_lsn = 0; log_there = 0; log_said = 0; hint = 0; cuts = 0
       }
     }
#endif
#if KILLS
  :: atomic {
       kills > 0 && victim == 0 ->
       if
       :: victim = STREAM
       :: victim = ROTATE
#if DUMPS
       :: victim = DUMP
#endif
#if INITS
       :: victim = INIT
#endif
       :: r[0].alive -> victim = RECEIVER
       fi;
       kills--; printf("kill %d\n", victim)
     }
#endif
#if CUTS
  :: atomic {
       power_cuts > 0 -> power_cuts--; boot++; 
       if :: mode = 0 :: mode = 1 :: mode = 2 fi;       /* unsynced bytes: all there, none, zeros */
       d_step {
         printf("power cut, bytes %d\n", mode);
         r[0].alive = 0; r[0].fd = 0; r[0].hup = 0; r[0].orphan = 0;
         r[STREAMS - 1].alive = 0; r[STREAMS - 1].fd = 0; r[STREAMS - 1].hup = 0; r[STREAMS - 1].orphan = 0;
         connected = 0; rotate_lock = 0; stream_lock = 0; base_lock = 0; victim = 0;
         if :: c_boot == 1 -> c_boot = 2 :: else fi;
         s = 0;
         do
         :: s < NI ->
            if
            :: mode == 1 -> f[s].n = f[s].kept
            :: mode == 2 && f[s].kept < f[s].n -> f[s].n = f[s].kept + 1; f[s].piece[f[s].kept] = ZERO
            :: else
            fi;
            f[s].kept = f[s].n;
            s++
         :: else -> break
         od;
         mode = 0; s = 0
       };
       if                                               /* names that were not synced: there, or as before */
       :: printf("names stay\n")
       :: part[0] = d_part[0]; part[1] = d_part[1]; part[2] = d_part[2]; stream_file = d_stream_file; printf("names go\n")
       fi;
       if :: log_said != 0 -> log_said = 0 :: skip fi;
       if
       :: archived != d_archived -> archived = d_archived; printf("segments go\n")
       :: archived != d_archived -> segment_torn = segment_torn | !data_kept
       :: archived == d_archived
       fi;
       d_step {
         sync_names();
         data_kept = 1; d_archived = archived;
         s = archived;
         do :: s < W -> arch[s] = 0; s++ :: else -> break od;
         s = archived + 1;
         do :: s <= W -> ends = ends & (~(1 << s)); s++ :: else -> break od;
         s = 0;
         s = 1;
         do
         :: s <= NI ->
            if
            :: s != stream_file && s != part[0] && s != part[1] && s != part[2] ->
               f[s - 1].n = 0; f[s - 1].kept = 0; f[s - 1].piece[0] = 0; f[s - 1].piece[1] = 0;
               f[s - 1].piece[2] = 0; f[s - 1].piece[3] = 0; f[s - 1].piece[4] = 0
            :: else
            fi;
            s++
         :: else -> break
         od;
         s = 0
       };
       printf("power is back\n");
       assert(!segment_torn);                           /* a finished segment is whole */
       assert(archived >= said);                        /* what was said to be archived stays so */
       check_kept()
     }
#endif
  od
}

/* --- pg_recvlogical: PostgreSQL's, as fact 6 has measured it --- */

proctype receiver(byte me) {
  byte next, written, flushed;
  bool within;
  do
  :: atomic { r[me].alive && r[me].fd == 0 && slot && connected == 0 && SAME_SERVER(me) ->  /* START_REPLICATION, then the file */
       connected = me + 1; next = MAX(r[me].start, confirmed); written = 0; flushed = 0; within = 0;
       if :: stream_file == 0 -> new_file(stream_file) :: else fi;
       r[me].fd = stream_file; printf("receiver connects from %d into file %d\n", next, r[me].fd) }
  :: atomic { r[me].fd && connected == me + 1 && !r[me].hup && next < wal && hist[next] != 0 && !within &&
              f[r[me].fd - 1].n < K ->
       f[r[me].fd - 1].piece[f[r[me].fd - 1].n] = PIECE(next, hist[next], 0); f[r[me].fd - 1].n++; within = 1; printf("begin of %d into file %d\n", next, r[me].fd) }
  :: atomic { r[me].fd && connected == me + 1 && !r[me].hup && within && f[r[me].fd - 1].n < K ->
       f[r[me].fd - 1].piece[f[r[me].fd - 1].n] = PIECE(next, hist[next], 1); f[r[me].fd - 1].n++; within = 0; printf("end of %d to %d into file %d\n", next, next + 1, r[me].fd);
       next++; written = next; received = MAX(received, next) }
  :: atomic { r[me].fd && connected == me + 1 && next < wal && hist[next] == 0 && !within ->
       next++; written = next }                          /* a keepalive: nothing to send up to there */
  #if CUTS
  :: atomic { r[me].fd && (f[r[me].fd - 1].kept != f[r[me].fd - 1].n || flushed != written) ->
#else
  :: atomic { r[me].fd && flushed != written ->
#endif
       sync_file(r[me].fd); flushed = written }
  :: atomic { r[me].fd && connected == me + 1 && flushed > confirmed ->   /* it says so, then sends it */
       log_said = MAX(log_said, flushed);
       if
       :: printf("confirms %d\n", flushed); confirmed = flushed; sent = MAX(sent, flushed); check_kept()
       :: r[me].alive = 0; r[me].fd = 0; connected = 0
       fi;
#if !CRASHES && !PROMOTIONS
       saved = confirmed
#endif
     }
  :: atomic { r[me].hup && r[me].fd ->
       sync_file(r[me].fd); flushed = written;
       if :: stream_file == 0 -> new_file(stream_file) :: else fi;
       r[me].fd = stream_file; r[me].hup = 0; printf("reopens: file %d\n", r[me].fd) }
  :: atomic { (r[me].alive && r[me].fd && connected != me + 1) || (r[me].alive && !r[me].fd && (!slot || !SAME_SERVER(me))) || (r[me].alive && (r[me].orphan || victim == RECEIVER)) ->
       if :: victim == RECEIVER -> victim = 0 :: else fi;
       if :: connected == me + 1 -> connected = 0 :: else fi;
       r[me].alive = 0; r[me].fd = 0; r[me].hup = 0; r[me].orphan = 0;
       next = 0; written = 0; flushed = 0; within = 0 }
  :: atomic { !r[me].alive && (next || written || within || flushed) -> next = 0; written = 0; flushed = 0; within = 0 }
  od
}

/* --- scribe-stream --- */

inline check_start() {          /* @stream/recovery.py:recover, up to the cut */
  d_step {
    scan(1);
    x_ = MAX(sc_pos, archived);
    position = x_;
    cut_f = sc_f; cut_o = sc_o; torn = sc_torn; printf("start: position %d, place %d %d, torn %d, frames after %d\n", position, cut_f, cut_o, torn, sc_low);
    x_ = FOLLOWED;
    verdict = 0;
    if
    :: sc_missing -> verdict = 2
#ifndef PLANT_no_timeline
    :: !sc_missing && x_ != s_tl && (x_ > s_tl || s_switched < position) -> verdict = 1      /* @stream/recovery.py:_check_server */
#endif
    :: !sc_missing && position > s_wal -> verdict = 1
#ifndef PLANT_no_frames_check
    :: sc_torn && sc_low != NONE && s_confirmed > sc_low -> verdict = 1
#endif
    :: p_tl != 0 && p_pos > position && s_confirmed > position -> verdict = 1               /* @stream/recovery.py:_check_confirmed */
    :: else
    fi;
    if
    :: verdict == 0 && x_ != s_tl && s_switched != NONE && left_at == NONE ->
       left_at = s_switched             /* archive.json keeps where the chain left a timeline */
    :: else
    fi;
    forget()
  }
}

proctype stream(byte me; byte mine) {
  byte position, cut_f, cut_o, s_tl, s_switched, s_wal, s_confirmed, verdict, b;
  bool torn;
again:
  b = boot;
  {
    do
    :: /* @stream/supervision.py:run */
#ifndef PLANT_no_stream_lock
       atomic { stream_lock == 0 -> stream_lock = me };
#endif
       do
       :: /* @stream/supervision.py:_rotate_lock */
          atomic { rotate_lock == 0 && !broken && !intent -> rotate_lock = me };
#ifndef PLANT_no_stray
          atomic {              /* @stream/supervision.py:_start @spool/switch_file.py:receivers: strays are ended first */
            x_ = 0;
            do
            :: x_ < STREAMS ->
               if
               :: connected == x_ + 1 -> connected = 0
               :: else
               fi;
               r[x_].alive = 0; r[x_].fd = 0; r[x_].hup = 0; r[x_].orphan = 0; x_++
            :: else -> break
            od;
            x_ = 0
          };
#endif
          atomic {              /* @source/server.py:inspect @source/slot.py:find_slot @stream/recovery.py:await_slot */
            connected == 0 ->
            s_tl = timeline; s_switched = (timeline == 2 -> switched : NONE); s_wal = wal; s_confirmed = confirmed;
            verdict = !slot
          };
          if
          :: verdict -> atomic { declare_broken(); rotate_lock = 0; verdict = 0; s_tl = 0; s_switched = 0; s_wal = 0; s_confirmed = 0 }
          :: else ->
          atomic {              /* @stream/recovery.py:_check_spool */
            if
            :: (spool_id != id || (stream_file == 0 && part[0] == 0 && part[1] == 0 && part[2] == 0)) ->
               if
               :: s_confirmed > archived -> verdict = 1
               :: else -> create_stream(); spool_id = id
               fi
            :: else
            fi;
            if :: verdict == 0 -> check_start() :: else fi;
            assert(verdict != 2);
            if
            :: verdict -> declare_broken(); rotate_lock = 0;
            :: else
            fi
          };
          if
          :: verdict -> atomic { verdict = 0; position = 0; cut_f = 0; cut_o = 0; torn = 0; s_tl = 0; s_switched = 0; s_wal = 0; s_confirmed = 0 }
          :: else ->
#ifndef PLANT_no_cut
          /* @spool/contents.py:cut: the newest file first, each removal on disk before the next, its own file last */
          if
          :: torn && cut_f == 0 -> cut_f = 1      /* nothing whole: all of it goes */
          :: else
          fi;
#ifdef PLANT_cut_truncates_first
          atomic { torn && cut_f >= 1 && cut_f <= NP && part[(cut_f - 1) % NP] -> f[part[(cut_f - 1) % NP] - 1].n = MIN(cut_o, f[part[(cut_f - 1) % NP] - 1].n) } unless { !(torn && cut_f >= 1 && cut_f <= NP && part[(cut_f - 1) % NP]) };
#endif
          if
          :: atomic { torn && cut_f <= NP && stream_file -> printf("removes the file being written\n"); v_ = stream_file; stream_file = 0; sync_names(); free_file(v_); v_ = 0 }
          :: else
          fi;
          if
          :: atomic { torn && cut_f < 3 && part[2] -> printf("removes part 3\n"); v_ = part[2]; part[2] = 0; sync_names(); free_file(v_); v_ = 0 }
          :: else
          fi;
          if
          :: atomic { torn && cut_f < 2 && part[1] -> printf("removes part 2\n"); v_ = part[1]; part[1] = 0; sync_names(); free_file(v_); v_ = 0 }
          :: else
          fi;
          atomic {
            if
            :: torn ->
               v_ = (cut_f > NP -> stream_file : part[(cut_f - 1) % NP]);
               if :: v_ && f[v_ - 1].n > cut_o -> f[v_ - 1].n = cut_o; printf("cuts file %d to %d\n", v_, cut_o) :: else fi;
               v_ = 0
            :: else
            fi
          };
#endif
          atomic {              /* @stream/recovery.py:_check_confirmations @spool/confirmed_position.py:highest */
            x_ = NONE;
            if
            :: c_boot == 0 && !log_there -> x_ = chain_from
            :: c_boot == 3 -> x_ = MAX(chain_from, c_lsn)
            :: c_boot == 1 -> v_ = MAX(chain_from, c_lsn); x_ = MAX(v_, log_said); v_ = 0
            :: else
            fi;
#ifndef PLANT_no_confirmations
            if :: x_ != NONE && s_confirmed > MAX(x_, position) -> verdict = 1 :: else fi;
#endif
            if
            :: verdict -> declare_broken(); rotate_lock = 0
            :: else -> c_lsn = (x_ == NONE -> s_confirmed : MAX(s_confirmed, x_)); c_boot = 1    /* @spool/confirmed_position.py:begin */
            fi;
            x_ = 0
          };
          if
          :: verdict -> verdict = 0
          :: else ->
#ifndef PLANT_no_sync_at_start
          atomic { create_stream(); sync_spool(); check_kept() };
#else
          atomic { if :: stream_file == 0 -> new_file(stream_file) :: else fi };
#endif
#ifndef PLANT_record_late
          atomic { p_pos = position; p_tl = s_tl };     /* @stream/supervision.py:_record: before anything can arrive */
#endif
          atomic {              /* @stream/supervision.py:_spawn */
            log_said = 0; log_there = 1;
#ifdef PLANT_start_beyond
            r[mine].start = position + 1;
#else
            r[mine].start = position;
#endif
            r[mine].tl = s_tl;
            r[mine].alive = 1; r[mine].orphan = 0; r[mine].fd = 0; r[mine].hup = 0; printf("spawn at %d\n", position)
          };
#ifdef PLANT_record_late
          atomic { p_pos = position; p_tl = s_tl };
#endif
          atomic { rotate_lock = 0; position = 0; cut_f = 0; cut_o = 0; torn = 0; s_tl = 0; s_switched = 0; s_wal = 0; s_confirmed = 0 };
          if                    /* @stream/supervision.py:_watch */
          :: !r[mine].alive
#if STOPS
          :: atomic { stops > 0 && r[mine].alive -> stops--;         /* @stream/supervision.py:_end */
               if :: r[mine].fd -> sync_file(r[mine].fd) :: else fi;
               if :: connected == mine + 1 -> connected = 0 :: else fi;
               r[mine].alive = 0; r[mine].fd = 0; r[mine].hup = 0 };
             atomic { rotate_lock == 0 -> rotate_lock = me };
             atomic {           /* @stream/recovery.py:tidy @spool/confirmed_position.py:settle */
               d_step {
                 scan(1);
                 if
                 :: !sc_bad && sc_torn && sc_f == NP + 1 -> f[stream_file - 1].n = sc_o
                 :: else
                 fi;
                 forget(); create_stream(); sync_spool();
                 c_lsn = MAX(c_lsn, log_said); c_boot = (c_boot == 1 -> 3 : c_boot);
                 rotate_lock = 0; stream_lock = 0
               };
               check_kept()
             };
             break
#endif
          fi
          fi
          fi
          fi
       od
    od
  } unless { atomic { b != boot || victim == me ->
      if :: b == boot -> victim = 0; r[mine].orphan = r[mine].alive :: else fi;
      if :: rotate_lock == me -> rotate_lock = 0 :: else fi;
      if :: stream_lock == me -> stream_lock = 0 :: else fi;
      position = 0; cut_f = 0; cut_o = 0; torn = 0; s_tl = 0; s_switched = 0; s_wal = 0; s_confirmed = 0; verdict = 0; b = 0;
      goto again } }
}

/* --- scribe-rotate --- */

inline find_piece() {           /* @stream/rotation.py:plan: where the next segment ends, 0 if there is none */
  d_step {
    scan(0);
    to = 0; bad = sc_bad || sc_missing;
    assert(hostile || !sc_missing);
#ifdef PLANT_no_passing_over
    i_ = chain_from;
#else
    i_ = archived;
#endif
    x_ = archived + 1;          /* the next cut */
    do
    :: x_ <= W && !(cuts & (1 << x_)) -> x_++
    :: else -> break
    od;
#ifdef PLANT_no_cut_for_bases
    x_ = W + 1;
#endif
    j_ = 0;
    do
    :: i_ < W && j_ == 0 ->
       if
       :: sc_c[i_] != 0 && i_ >= x_ -> to = x_; j_ = 1
       :: sc_c[i_] != 0 && i_ < x_ -> to = MAX(to, i_ + 1)
       :: else
       fi;
       i_++
    :: else -> break
    od;
#ifdef PLANT_no_passing_over
    if :: to <= archived && to != 0 && sc_c[to - 1] && rounds < 1 :: else -> if :: to <= archived -> to = 0 :: else fi fi;
    rounds = rounds + (to != 0 -> 1 : 0);
#endif
    forget()
  }
}

inline add_segment() {          /* the manifest has its name: the segment counts */
  d_step {
#ifndef PLANT_no_data_sync
    printf("data of a segment is on disk\n");
#endif
    scan(0);
#ifdef PLANT_no_passing_over
    i_ = chain_from;
#else
    i_ = archived;
#endif
    v_ = 0;
    do
    :: i_ < to ->
       if
       :: sc_c[i_] -> assert(arch[i_] == 0);            /* none stands twice */
          arch[i_] = sc_c[i_];
          if :: sc_c[i_] == hist[i_] -> v_ = i_ + 1 :: else fi
       :: else
       fi;
       i_++
    :: else -> break
    od;
    i_ = chain_from;            /* whoever continues the server's history continues it without a gap */
    do
    :: i_ < v_ -> assert(arch[i_] == hist[i_]); i_++
    :: else -> break
    od;
    i_ = archived + 1;          /* a base's point is a boundary */
    do
    :: i_ < to -> assert(!(bases & (1 << i_)) || i_ <= chain_from); i_++
    :: else -> break
    od;
    i_ = chain_from;            /* and what follows a base belongs to its history @archive/chains.py:find_chain */
    do
    :: i_ < v_ ->
#ifdef PLANT_base_of_left_history
       assert(!(bases & (1 << i_)) || !(stale_bases & (1 << i_)) || hist[v_ - 1] == 1);
#else
       assert(!(bases & (1 << i_)) || !(stale_bases & (1 << i_)) || hist[v_ - 1] == 1 || (left_at < i_ && (old_bases & (1 << i_))));
#endif
       i_++
    :: else -> break
    od;
    printf("segment %d to %d\n", archived, to); archived = to; ends = ends | (1 << to); seg_tl = s_tl;
    forget()
  }
}

proctype rotate(byte me) {
  byte to, s_tl, b, number;
  bool bad;
#ifdef PLANT_no_passing_over
  byte rounds;
#endif
again:
  b = boot;
  {
    do
    :: /* @stream/rotation.py:lock @stream/rotation.py:remove_unfinished */
#ifdef PLANT_no_rotate_lock
       atomic { rotations > 0 && !intent -> rotations--; s_tl = timeline };
#else
       atomic { rotations > 0 && rotate_lock == 0 && !intent -> rotations--; rotate_lock = me; s_tl = timeline };
#endif
       /* @spool/switch_file.py:switch: a receiver that is about to open the file would make it, and nobody its name durable */
#ifndef PLANT_rotation_before_open
       (!r[0].alive || r[0].fd);
#if STREAMS > 1
       (!r[1].alive || r[1].fd);
#endif
#endif
       /* @spool/switch_file.py:switch @spool/contents.py:next_part */
       atomic {
         if
         :: stream_file && f[stream_file - 1].n > 0 ->
            number = (part[2] -> 3 : (part[1] -> 2 : (part[0] -> 1 : 0)));
            number = MAX(number, hint);
            if
            :: number < NP -> part[number] = stream_file; stream_file = 0; printf("part %d is file %d\n", number + 1, part[number])
            :: else
            fi;
            number = 0
         :: else
         fi
       };
       atomic {
         create_stream();
#ifndef PLANT_named_not_synced
         d_archived = archived; printf("segments are on disk\n")        /* @stream/rotation.py:rotate: what one that was killed has named */
#endif
       };
#ifndef PLANT_no_hup
       if
       :: atomic { r[0].alive && r[0].fd && (r[0].fd == part[0] || r[0].fd == part[1] || r[0].fd == part[2]) -> r[0].hup = 1 };
          (!r[0].alive || !r[0].hup)
       :: else
       fi;
#if STREAMS > 1
       if
       :: atomic { r[1].alive && r[1].fd && (r[1].fd == part[0] || r[1].fd == part[1] || r[1].fd == part[2]) -> r[1].hup = 1 };
          (!r[1].alive || !r[1].hup)
       :: else
       fi;
#endif
#endif
       find_piece();
       do
       :: !bad && to != 0 ->
          /* @stream/writer.py:write_plain @stream/writer.py:write_segment */
#ifdef PLANT_no_data_sync
          data_kept = 0;
#endif
#ifdef PLANT_parts_removed_first
          atomic { part[0] = 0; part[1] = 0; part[2] = 0; sync_names() };
#endif
          add_segment();        /* @archive/manifest.py:write_manifest @common/files.py:publish */
#ifndef PLANT_no_directory_sync
          d_step { d_archived = archived; printf("segments are on disk\n") };
#endif
          find_piece()
       :: else -> break
       od;
       if
       :: !bad ->
          /* @stream/rotation.py:_finish: parts go in order, each removal on disk before the next */
          d_step {
            hint = MAX(hint, (part[2] -> 3 : (part[1] -> 2 : (part[0] -> 1 : 0))))
          };
          number = 0;
          do
          :: atomic { number < NP && part[number] == 0 -> number++ }
          :: number < NP && part[number] != 0 ->
             atomic {
               d_step { scan(0); bad = !(sc_f > number + 1 || (sc_f == number + 1 && sc_o == f[part[number] - 1].n)) ; forget() };
#ifdef PLANT_torn_parts_removed
               bad = 0;
#endif
               if
               :: bad -> break
               :: else ->
                  v_ = part[number]; part[number] = 0; printf("removes part %d\n", number + 1); sync_names(); free_file(v_); v_ = 0;
                  number++; check_kept()
               fi
             }
          :: else -> break
          od
       :: else
       fi;
       atomic {                 /* @stream/rotation.py:_remove_cuts */
         number = 0;
         do
         :: number <= archived -> cuts = cuts & (~(1 << number)); printf("cut at %d is done\n", number); number++
         :: else -> break
         od;
         number = 0; bad = 0; to = 0; s_tl = 0;
         said = MAX(said, archived); printf("archived up to %d\n", archived);
         if :: rotate_lock == me -> rotate_lock = 0 :: else fi
       }
    od
  } unless { atomic { b != boot || victim == me ->
      if :: b == boot -> victim = 0 :: else fi;
      if :: rotate_lock == me -> rotate_lock = 0 :: else fi;
      to = 0; bad = 0; number = 0; s_tl = 0; b = 0;
      goto again } }
}

/* --- scribe-dump --- */

proctype dump() {
  byte point, tl, b;
  bool other;
again:
  b = boot;
  {
    do
    :: /* @dump/base.py:refuse_other_timeline: a promoted server that the stream has yet to see may lack what is archived */
#ifdef PLANT_dump_of_other_timeline
       atomic { dumps > 0 && base_lock == 0 && !intent -> dumps--; base_lock = DUMP };
#else
       atomic { dumps > 0 && base_lock == 0 && !intent && FOLLOWED == timeline -> dumps--; base_lock = DUMP };
#endif
       /* @dump/base.py:begin_cut @source/slot.py:create_slot: the point is recorded while no rotation can pass it */
#ifdef PLANT_cut_outside_lock
       atomic { wal < W -> hist[wal] = 0; wal++; point = wal; tl = timeline; other = (FOLLOWED != timeline) };
#else
       atomic { rotate_lock == 0 && wal < W ->
         rotate_lock = DUMP; hist[wal] = 0; wal++; point = wal; tl = timeline; other = (FOLLOWED != timeline) };
#endif
#if defined(PLANT_dump_of_other_timeline) || defined(PLANT_promoted_meanwhile)
       other = 0;
#endif
       if
       :: !other -> cuts = cuts | (1 << point); printf("cut wanted at %d\n", point)      /* @archive/layout.py:record_cut */
       :: else
       fi;
       if :: rotate_lock == DUMP -> rotate_lock = 0 :: else fi;
       atomic {                 /* @dump/base.py:take_base @common/files.py:publish; its connection ends with the server */
         if
         :: tl == timeline && !other ->
            bases = bases | (1 << point); printf("base at %d\n", point);
            if :: tl == 1 -> old_bases = old_bases | (1 << point) :: else fi;
            v_ = point + 1;     /* no segment spans it already */
            do
            :: v_ <= archived && !(ends & (1 << v_)) -> v_++
            :: else -> break
            od;
            assert(archived <= point || point <= chain_from || (ends & (1 << point)));
            v_ = 0
         :: else
         fi;
         base_lock = 0; point = 0; tl = 0; other = 0
       }
    od
  } unless { atomic { b != boot || victim == DUMP ->
      if :: b == boot -> victim = 0 :: else fi;
      if :: rotate_lock == DUMP -> rotate_lock = 0 :: else fi;
      if :: base_lock == DUMP -> base_lock = 0 :: else fi;
      point = 0; tl = 0; other = 0; b = 0;
      goto again } }
}

/* --- scribe-init, for a new chain --- */

proctype init_again() {
  byte point, tl, b;
again:
  b = boot;
  {
    do
    :: /* @dump/setup.py:_refuse_rewound: no new chain on a server that lacks what is archived */
       atomic { (intent || (inits > 0 && broken && wal < W && wal >= archived && (bases >> (wal + 1)) == 0)) && base_lock == 0 -> base_lock = INIT };
       atomic { stream_lock == 0 || stream_lock == STREAM -> stream_lock = INIT };   /* scribe-stream has ended with the error */
       atomic { rotate_lock == 0 -> rotate_lock = INIT };
       if
       :: atomic { intent && id != 2 && !(id == spool_id && id == 2) ->          /* @dump/setup.py:repair @dump/setup.py:_undo */
            connected == 0 -> slot = 0; confirmed = 0; saved = 0; intent = 0 }
       :: atomic { intent && id == 2 -> intent = 0 }
       :: else
       fi;
       if
       :: broken && inits > 0 ->
          /* @dump/setup.py:_begin_chain @source/slot.py:drop_slot */
          atomic { connected == 0 -> inits--; slot = 0; intent = 1 };
          /* @dump/setup.py:_create_parts: the slot, and the base on its snapshot */
          atomic { hist[wal] = 0; wal++; point = wal; slot = 1; confirmed = point; saved = point; tl = timeline; hostile = hostile & 1 };
          if
          :: tl != timeline     /* its connection ends with the server: it fails, and another run repairs what it left */
#ifndef PLANT_rewound_meanwhile
          :: tl == timeline && (point < archived || (bases >> (point + 1)) != 0)       /* the same, of the slot's own point */
          :: tl == timeline && !(point < archived || (bases >> (point + 1)) != 0) ->
#else
          :: tl == timeline ->
#endif
          /* @dump/setup.py:set_spool_aside */
          atomic { cuts = 0; stream_file = 0; part[0] = 0; part[1] = 0; part[2] = 0; sync_names() };
#ifndef PLANT_stale_stream_json
          atomic { p_tl = 0; p_pos = 0 };
#endif
          spool_id = 2;         /* @spool/contents.py:write_id */
          atomic {              /* @archive/layout.py:write_identity: the archive names what is there */
            id = 2; chain_from = point; id_tl = timeline; seg_tl = timeline; left_at = NONE; sent = point; hostile = hostile >> 1; archived = MAX(archived, point);
            bases = bases | (1 << point); d_archived = archived
          };
          broken = 0;           /* @archive/layout.py:clear_broken */
          intent = 0
          fi
       :: else
       fi;
       atomic {
         if :: rotate_lock == INIT -> rotate_lock = 0 :: else fi;
         if :: stream_lock == INIT -> stream_lock = 0 :: else fi;
         base_lock = 0; point = 0; tl = 0
       }
    od
  } unless { atomic { b != boot || victim == INIT ->
      if :: b == boot -> victim = 0 :: else fi;
      if :: rotate_lock == INIT -> rotate_lock = 0 :: else fi;
      if :: stream_lock == INIT -> stream_lock = 0 :: else fi;
      if :: base_lock == INIT -> base_lock = 0 :: else fi;
      point = 0; tl = 0; b = 0;
      goto again } }
}

init {
  atomic {
#if !LATE
    do :: wal < W -> hist[wal] = 1; wal++; printf("commit %d to %d\n", wal - 1, wal) :: else -> break od;
#endif
    new_file(stream_file); sync_names();
    run world(); run receiver(0);
    run stream(STREAM, 0);
    run rotate(ROTATE);
#if STREAMS > 1
    run receiver(1); run stream(STREAM + 1, 1);
#endif
#if ROTATORS > 1
    run rotate(ROTATE + 1);
#endif
#if DUMPS
    run dump();
#endif
#if INITS
    run init_again();
#endif
  }
}

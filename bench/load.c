/* The load generator: many WebSocket clients in one thread, fast enough never to be what is measured.
 *
 *   load PORT CONNECTIONS FIRST PROGRESS PATH WINDOW PING PONG [SEND EXPECT]...
 *
 * Each connection asks for PATH, then goes through the steps: sends SEND (nothing if it is empty) and waits for a
 * message that holds EXPECT. "{n}" in PATH and SEND is the connection's number. A text that equals PING is answered
 * with PONG. At most WINDOW connections are on their way at a time. When all are through, one line of JSON says so.
 *
 * Messages are counted, not frames: each has {"n":NUMBER,"t":NANOSECONDS} in it, numbers from FIRST on without a hole
 * on each connection, and the time (CLOCK_REALTIME) at which it was published. Frames are parsed where they were
 * read; of a frame that has come in part no more is kept than a message's mark.
 *
 * "mark" on standard input prints what came since the last mark, "quit" ends it. PROGRESS is a file of 16 bytes,
 * shared with the publisher, which is to stay only so far ahead: messages so far, and connections that are through. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 256 << 10, KEPT_BYTES = 1 << 20, NUMBERS = 48, SUB = 64, POWERS = 88, STEPS = 8 };
enum state { CONNECTING, HANDSHAKE, STEPPING, OPEN, CLOSED };

typedef struct {
  int fd, number;
  enum state state;
  int step;
  uint64_t next;   /* the number that has to come */
  uint64_t left;   /* bytes of a text frame that are still to come, those kept included; 0: between frames */
  char *kept;      /* what was read and can't be understood yet */
  size_t kept_size;
} Client;

static const char MARK[] = "{\"n\":";
static const size_t MARK_SIZE = sizeof MARK - 1;

static char area[KEPT_BYTES + READ_BYTES], *const buffer = area + KEPT_BYTES;
static int epoll_fd, port, total, started, through, closed, window;
static uint64_t first_number, *progress;
static const char *path, *ping_text, *pong_text, *sends[STEPS], *expects[STEPS];
static int steps;
static Client *clients;
static size_t stride, lead; /* where the next mark probably is: from behind the last one, from the frame's start */

static uint64_t messages, frames, bytes, reads, holes, duplicates, first_ns, last_ns, worst_ns;
static uint64_t histogram[POWERS * SUB / 2];
static uint64_t now;     /* when the bytes in the buffer were read; CLOCK_REALTIME */
static double began_wall, began_cpu;

static uint64_t now_ns(clockid_t clock) {
  struct timespec at;
  clock_gettime(clock, &at);
  return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static double cpu_seconds(void) { return (double)now_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9; }

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "load: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  exit(1);
}

/* Latencies: 32 classes in each power of two, told by their middle, so that a percentile is right within 1.6 %. */
static void record(uint64_t ns) {
  int power = ns < SUB ? 0 : 63 - __builtin_clzll(ns) - 5; /* ns >> power lies in [32, 64) from power 1 on */
  size_t class = power ? (size_t)power * (SUB / 2) + (ns >> power) : ns;
  histogram[class < POWERS * SUB / 2 ? class : POWERS * SUB / 2 - 1]++;
  if (ns > worst_ns) worst_ns = ns;
}

static double percentile(double share) {
  uint64_t all = 0, seen = 0;
  for (size_t i = 0; i < POWERS * SUB / 2; i++) all += histogram[i];
  for (size_t i = 0; i < POWERS * SUB / 2; i++) {
    seen += histogram[i];
    if (all && (double)seen >= share * (double)all) {
      if (i < SUB) return (double)i / 1e6;
      size_t power = i / (SUB / 2) - 1;
      double middle = (double)((i - power * (SUB / 2)) << power) + (double)((uint64_t)1 << power) / 2;
      return (middle < (double)worst_ns ? middle : (double)worst_ns) / 1e6;
    }
  }
  return 0;
}

static void expand(char *to, size_t size, const char *template, int number) {
  size_t used = 0;
  for (const char *at = template; *at && used + 16 < size;) {
    if (!strncmp(at, "{n}", 3)) {
      used += (size_t)snprintf(to + used, size - used, "%d", number);
      at += 3;
    } else to[used++] = *at++;
  }
  to[used] = 0;
}

static void send_all(Client *client, const void *data, size_t size) {
  /* A client says little: what doesn't fit into the socket's buffer would be a fault of the peer. */
  if (send(client->fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) die("connection %d takes no bytes", client->number);
}

static void send_frame(Client *client, int opcode, const char *data, size_t size) {
  char frame[4096] = {(char)(0x80 | opcode)};
  size_t head = 2;
  if (size > sizeof frame - 16) die("a message of %zu bytes is too long", size);
  if (size < 126) frame[1] = (char)(0x80 | size);
  else frame[1] = (char)(0x80 | 126), frame[2] = (char)(size >> 8), frame[3] = (char)size, head = 4;
  memcpy(frame + head + 4, data, size); /* masked with zeros, which is as good a mask as any */
  send_all(client, frame, head + 4 + size);
}

static void start(int number) {
  Client *client = &clients[number];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct epoll_event interest = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
  int on = 1;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  *client = (Client){.number = number, .next = first_number};
  client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (client->fd < 0) die("socket: %s", strerror(errno));
  /* Reset at the end: thousands of addresses in TIME_WAIT would be missing in the next round. */
  setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
  setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(client->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
    die("connect: %s", strerror(errno));
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &interest)) die("epoll: %s", strerror(errno));
}

static void ask(Client *client) {
  char target[1024], request[2048];
  struct epoll_event interest = {.events = EPOLLIN, .data.ptr = client};
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) die("connect: %s", strerror(error));
  expand(target, sizeof target, path, client->number);
  int length = snprintf(request, sizeof request,
      "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", target, port);
  client->state = HANDSHAKE;
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, client->fd, &interest);
  send_all(client, request, (size_t)length);
}

static void enter_step(Client *client) {
  if (client->step < steps) {
    char text[2048];
    client->state = STEPPING;
    expand(text, sizeof text, sends[client->step], client->number);
    if (*text) send_frame(client, 1, text, strlen(text));
    return;
  }
  client->state = OPEN;
  progress[1] = (uint64_t)++through;
  if (started < total) start(started++);
  if (through == total) {
    double seconds = (double)now_ns(CLOCK_MONOTONIC) / 1e9 - began_wall;
    printf("{\"subscribed\":%d,\"seconds\":%.6f,\"cpu\":%.6f}\n", total, seconds, cpu_seconds() - began_cpu);
    fflush(stdout);
  }
}

static void hang_up(Client *client) {
  if (client->state != OPEN) die("connection %d was closed before it was subscribed", client->number);
  client->state = CLOSED;
  closed++;
  close(client->fd);
}

/* Count the messages in a piece of a frame's payload. Returns how much of it is done with: all if it is the rest. */
static size_t count(Client *client, char *piece, size_t size, int rest, int start_of_frame) {
  char *at = piece, *end = piece + size, *mark;
  size_t guess = start_of_frame ? lead : 0;
  for (;;) {
    if (guess && (size_t)(end - at) > guess + MARK_SIZE && !memcmp(at + guess, MARK, MARK_SIZE)) mark = at + guess;
    else if ((mark = memmem(at, (size_t)(end - at), MARK, MARK_SIZE)) == NULL) break;
    if (!rest && (size_t)(end - mark) < MARK_SIZE + NUMBERS) return (size_t)(mark - piece);
    if (at == piece) lead = start_of_frame ? (size_t)(mark - at) : lead;
    else stride = (size_t)(mark - at);
    at = mark + MARK_SIZE;
    uint64_t number = 0, then = 0;
    while (at < end && *at >= '0' && *at <= '9') number = number * 10 + (uint64_t)(*at++ - '0');
    while (at < end && (*at < '0' || *at > '9')) at++;
    while (at < end && *at >= '0' && *at <= '9') then = then * 10 + (uint64_t)(*at++ - '0');
    if (number > client->next) holes += number - client->next;
    else if (number < client->next) duplicates++;
    if (number >= client->next) client->next = number + 1;
    record(now > then ? now - then : 0);
    if (!messages++) first_ns = now;
    last_ns = now;
    guess = stride;
  }
  if (rest) return size;
  return size < MARK_SIZE ? 0 : (size_t)(end - at) < MARK_SIZE ? (size_t)(at - piece) : size - (MARK_SIZE - 1);
}

static void text(Client *client, char *payload, size_t size) {
  if (size == strlen(ping_text) && size && !memcmp(payload, ping_text, size)) {
    send_frame(client, 1, pong_text, strlen(pong_text));
    return;
  }
  if (client->state == STEPPING) {
    const char *expected = expects[client->step];
    if (memmem(payload, size, expected, strlen(expected))) {
      client->step++;
      enter_step(client);
    }
  }
  count(client, payload, size, 1, 1);
}

/* Take what is whole of [at, end); returns where the rest begins. */
static char *take(Client *client, char *at, char *end) {
  while (client->state != CLOSED && at < end) {
    if (client->state == HANDSHAKE) {
      char *head = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
      if (!head) break;
      if (memcmp(at, "HTTP/1.1 101", 12)) die("the handshake was refused: %.*s", (int)(head - at), at);
      at = head + 4;
      enter_step(client);
      continue;
    }
    if (client->left) {
      size_t size = (size_t)(end - at) < client->left ? (size_t)(end - at) : client->left;
      size_t done = count(client, at, size, size == client->left, 0);
      client->left -= done;
      at += done;
      if (client->left) break;
      continue;
    }
    unsigned char *head = (unsigned char *)at;
    size_t have = (size_t)(end - at), size = have > 1 ? head[1] & 127 : 0, header = size < 126 ? 2 : size == 126 ? 4 : 10;
    if (have < header) break;
    if (header == 4) size = (size_t)head[2] << 8 | head[3];
    if (header == 10)
      for (int i = size = 0; i < 8; i++) size = size << 8 | head[2 + i];
    int opcode = head[0] & 15;
    if (have < header + size && (opcode > 2 || client->state != OPEN || size < 126)) break;
    frames++;
    if (opcode == 8) {
      hang_up(client);
    } else if (opcode == 9) {
      send_frame(client, 10, at + header, size);
    } else if (opcode < 3 && have < header + size) {
      size_t done = count(client, at + header, have - header, 0, 1);
      client->left = size - done;
      return at + header + done;
    } else if (opcode < 3) {
      text(client, at + header, size);
    }
    at += header + size;
  }
  return at;
}

static void receive(Client *client) {
  ssize_t got = recv(client->fd, buffer, READ_BYTES, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    hang_up(client);
    return;
  }
  now = now_ns(CLOCK_REALTIME);
  reads++;
  bytes += (uint64_t)got;
  char *begin = buffer - client->kept_size, *end = buffer + got;
  if (client->kept_size) memcpy(begin, client->kept, client->kept_size);
  char *rest = take(client, begin, end);
  size_t size = client->state == CLOSED ? 0 : (size_t)(end - rest);
  if (size > KEPT_BYTES) die("a message of more than %d bytes before the subscription", KEPT_BYTES);
  if (size > client->kept_size && !(client->kept = realloc(client->kept, size))) die("out of memory");
  if (size) memcpy(client->kept, rest, size);
  client->kept_size = size;
}

static void mark(void) {
  double wall = (double)now_ns(CLOCK_MONOTONIC) / 1e9, cpu = cpu_seconds();
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < total; i++) least = clients[i].next < least ? clients[i].next : least;
  printf("{\"messages\":%lu,\"frames\":%lu,\"bytes\":%lu,\"reads\":%lu,\"holes\":%lu,\"duplicates\":%lu,\"closed\":%d,"
         "\"seconds\":%.6f,\"cpu\":%.6f,\"active\":%.6f,\"behind\":%lu,"
         "\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"p999\":%.4f,\"max\":%.4f}\n",
         messages, frames, bytes, reads, holes, duplicates, closed, wall - began_wall, cpu - began_cpu,
         messages ? (double)(last_ns - first_ns) / 1e9 : 0.0, least, percentile(.5), percentile(.9), percentile(.99),
         percentile(.999), (double)worst_ns / 1e6);
  fflush(stdout);
  messages = frames = bytes = reads = holes = duplicates = worst_ns = 0;
  memset(histogram, 0, sizeof histogram);
  began_wall = wall, began_cpu = cpu;
}

static int command(void) {
  char line[64];
  ssize_t got = read(0, line, sizeof line - 1);
  if (got <= 0) return 0;
  line[got] = 0;
  if (strstr(line, "mark")) mark();
  return !strstr(line, "quit");
}

int main(int argc, char **argv) {
  if (argc < 9 || argc % 2 == 0 || (steps = (argc - 9) / 2) > STEPS)
    die("usage: load PORT CONNECTIONS FIRST PROGRESS PATH WINDOW PING PONG [SEND EXPECT]...");
  port = atoi(argv[1]), total = atoi(argv[2]), first_number = strtoull(argv[3], NULL, 10);
  path = argv[5], window = atoi(argv[6]), ping_text = argv[7], pong_text = argv[8];
  for (int i = 0; i < steps; i++) sends[i] = argv[9 + 2 * i], expects[i] = argv[10 + 2 * i];
  int file = open(argv[4], O_RDWR);
  progress = file < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (progress == MAP_FAILED) die("%s: %s", argv[4], strerror(errno));
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (!(clients = calloc((size_t)total, sizeof *clients))) die("out of memory");

  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &input);
  began_wall = (double)now_ns(CLOCK_MONOTONIC) / 1e9, began_cpu = cpu_seconds();
  while (started < total && started < window) start(started++);
  for (;;) {
    int count = epoll_wait(epoll_fd, ready, 256, -1);
    for (int i = 0; i < count; i++) {
      Client *client = ready[i].data.ptr;
      if (!client) {
        if (!command()) return 0;
      } else if (client->state == CONNECTING) {
        ask(client);
      } else if (client->state != CLOSED) {
        uint64_t before = messages;
        receive(client);
        *progress += messages - before;
      }
    }
  }
}

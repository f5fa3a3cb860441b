/* What the kernel allows: a relay with nothing in it but the sockets.
 *
 *   relay PORT REDIS_PORT each|join
 *
 * A client that asks for /sub/CHANNEL is sent what is published on CHANNEL in Redis: with "each" one send for each
 * message and client, with "join" one send for all that one read from Redis brought for that client. No history, no
 * recovery, no permissions, no pings. Where a client's socket is full, everybody waits for it: nothing is lost. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20, NAME = 64, BUCKETS = 1 << 14, JOINED = 1 << 18, REQUEST = 2048 };

typedef struct channel {
  char name[NAME];
  struct channel *next, *next_dirty;
  int *fds, count, room, dirty;
  char *joined; /* frames that wait for the end of this read */
  size_t size;
} Channel;

typedef struct {
  Channel *channel;
  char request[REQUEST];
  size_t size;
} Client;

static Channel *buckets[BUCKETS], *dirty;
static Client *clients[1 << 17];
static int epoll_fd, redis_fd, join_frames;
static char input[2 * READ_BYTES];
static size_t input_size;

static void die(const char *what) {
  fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void send_all(int fd, const char *data, size_t size) {
  while (size) {
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) {
      struct pollfd wait = {.fd = fd, .events = POLLOUT};
      poll(&wait, 1, -1);
    } else if (sent < 0) {
      return; /* it has gone; epoll says so too */
    } else data += sent, size -= (size_t)sent;
  }
}

static Channel *channel(const char *name, size_t size, int make) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)name[i]) * 16777619u;
  Channel **at = &buckets[hash % BUCKETS];
  for (Channel *found = *at; found; found = found->next)
    if (!strncmp(found->name, name, size) && !found->name[size]) return found;
  if (!make) return NULL;
  Channel *made = calloc(1, sizeof *made);
  memcpy(made->name, name, size);
  made->next = *at;
  *at = made;
  char command[256];
  int length = snprintf(command, sizeof command, "*2\r\n$9\r\nSUBSCRIBE\r\n$%zu\r\n%s\r\n", size, made->name);
  send_all(redis_fd, command, (size_t)length);
  return made;
}

static void flush(Channel *it) {
  for (int i = 0; i < it->count; i++) send_all(it->fds[i], it->joined, it->size);
  it->size = 0;
}

static void publish(Channel *it, const char *line, size_t size) {
  char head[4] = {(char)0x81, (char)size};
  size_t head_size = 2;
  if (size >= 126) head[1] = 126, head[2] = (char)(size >> 8), head[3] = (char)size, head_size = 4;
  if (!it->joined && !(it->joined = malloc(JOINED))) die("malloc");
  if (it->size + head_size + size > JOINED) flush(it);
  memcpy(it->joined + it->size, head, head_size);
  memcpy(it->joined + it->size + head_size, line, size);
  it->size += head_size + size;
  if (!join_frames) flush(it);
  else if (!it->dirty) it->dirty = 1, it->next_dirty = dirty, dirty = it;
}

/* One reply of Redis, "*3 kind channel payload" each; returns what it took, 0 where it is not whole yet. */
static size_t reply(char *at, char *end) {
  char *begin = at, *part[3];
  size_t sizes[3];
  if (end - at < 4 || *at != '*') return 0;
  if (!(at = memchr(at, '\n', (size_t)(end - at)))) return 0;
  at++;
  for (int i = 0; i < 3; i++) {
    char *line = memchr(at, '\n', (size_t)(end - at));
    if (!line) return 0;
    part[i] = line + 1;
    sizes[i] = 0;
    if (*at == '$') {
      sizes[i] = strtoul(at + 1, NULL, 10);
      if ((size_t)(end - part[i]) < sizes[i] + 2) return 0;
      line = part[i] + sizes[i] + 1;
    }
    at = line + 1;
  }
  if (sizes[0] == 7 && !memcmp(part[0], "message", 7)) {
    Channel *it = channel(part[1], sizes[1], 0);
    if (it) publish(it, part[2], sizes[2]);
  }
  return (size_t)(at - begin);
}

static void from_redis(void) {
  ssize_t got = recv(redis_fd, input + input_size, READ_BYTES, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) die("Redis");
  input_size += (size_t)got;
  size_t done = 0, taken;
  while ((taken = reply(input + done, input + input_size))) done += taken;
  memmove(input, input + done, input_size -= done);
  for (; dirty; dirty = dirty->next_dirty) flush(dirty), dirty->dirty = 0;
}

static uint32_t rotate(uint32_t x, int bits) { return x << bits | x >> (32 - bits); }

/* SHA-1 of at most 119 bytes, for the handshake (RFC 6455, 4.2.2; FIPS 180-4). */
static void sha1(const char *text, size_t size, unsigned char digest[20]) {
  uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  unsigned char block[128] = {0};
  size_t blocks = size + 9 > 64 ? 2 : 1;
  memcpy(block, text, size);
  block[size] = 0x80;
  block[blocks * 64 - 2] = (unsigned char)(size * 8 >> 8), block[blocks * 64 - 1] = (unsigned char)(size * 8);
  for (size_t n = 0; n < blocks; n++) {
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 80; i++) {
      const unsigned char *p = block + n * 64 + 4 * i;
      w[i] = i < 16 ? (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]
                    : rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
      uint32_t f = i < 20 ? ((b & c) | (~b & d)) + 0x5a827999 : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                 : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc : (b ^ c ^ d) + 0xca62c1d6;
      uint32_t t = rotate(a, 5) + f + e + w[i];
      e = d, d = c, c = rotate(b, 30), b = a, a = t;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
  }
  for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static void handshake(int fd, Client *client) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char text[128], accept[29] = {0}, response[256], name[NAME] = {0}, key[64] = {0};
  unsigned char digest[21] = {0};
  char *header = strcasestr(client->request, "\r\nSec-WebSocket-Key:");
  if (!header || sscanf(header + 20, " %63[^\r\n ]", key) != 1 || sscanf(client->request, "GET /sub/%63[^ ]", name) != 1) {
    send_all(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 64);
    shutdown(fd, SHUT_RDWR);
    return;
  }
  sha1(text, (size_t)snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key), digest);
  for (int i = 0; i < 28; i++) {
    int bit = i * 6, value = (digest[bit / 8] << 8 | digest[bit / 8 + 1]) >> (10 - bit % 8) & 63;
    accept[i] = i < 27 ? letters[value] : '=';
  }
  int length = snprintf(response, sizeof response, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
  Channel *it = client->channel = channel(name, strlen(name), 1);
  if (it->count == it->room && !(it->fds = realloc(it->fds, sizeof(int) * (size_t)(it->room = it->room * 2 + 4))))
    die("realloc");
  it->fds[it->count++] = fd;
  send_all(fd, response, (size_t)length);
}

static void leave(int fd, Client *client) {
  for (int i = 0; client->channel && i < client->channel->count; i++)
    if (client->channel->fds[i] == fd) client->channel->fds[i--] = client->channel->fds[--client->channel->count];
  clients[fd] = NULL;
  free(client);
  close(fd);
}

static void from_client(int fd) {
  char ignored[4096];
  Client *client = clients[fd];
  char *to = client->channel ? ignored : client->request + client->size;
  ssize_t got = recv(fd, to, client->channel ? sizeof ignored : REQUEST - 1 - client->size, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    leave(fd, client);
    return;
  }
  if (client->channel) return;
  client->size += (size_t)got;
  client->request[client->size] = 0;
  if (strstr(client->request, "\r\n\r\n")) handshake(fd, client);
}

static void accept_all(int listener) {
  int fd, on = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    struct epoll_event interest = {.events = EPOLLIN, .data.fd = fd};
    if (fd >= (int)(sizeof clients / sizeof *clients)) die("too many connections");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    clients[fd] = calloc(1, sizeof(Client));
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &interest);
  }
}

int main(int argc, char **argv) {
  if (argc != 4) die("usage: relay PORT REDIS_PORT each|join");
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))}, redis = here;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  struct rlimit limit;
  here.sin_addr.s_addr = redis.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  redis.sin_port = htons((uint16_t)atoi(argv[2]));
  join_frames = !strcmp(argv[3], "join");
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  redis_fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(redis_fd, (struct sockaddr *)&redis, sizeof redis)) die("connecting to Redis");
  if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4096)) die("listening");
  epoll_fd = epoll_create1(0);
  struct epoll_event ready[256], of_listener = {.events = EPOLLIN, .data.fd = listener},
                                 of_redis = {.events = EPOLLIN, .data.fd = redis_fd};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &of_listener);
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, redis_fd, &of_redis);
  for (;;) {
    int count = epoll_wait(epoll_fd, ready, 256, -1);
    for (int i = 0; i < count; i++) {
      int fd = ready[i].data.fd;
      if (fd == listener) accept_all(listener);
      else if (fd == redis_fd) from_redis();
      else if (clients[fd]) from_client(fd);
    }
  }
}

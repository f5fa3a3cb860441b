/** When the page is drawn: in the next frame, and while much happens no more often than it can bear. */

/** The interval between drawings while many events arrive, in milliseconds; a single event is drawn in the next frame. */
const BUSY_INTERVAL = 100;
/** The share of the time that drawing may take, layout and painting included: slow drawing happens less often. */
const DRAWING_SHARE = 0.25;
const LONGEST_INTERVAL = 1000;

export class Drawing {
  #draw;
  #scheduled = false;
  #drawnAt = 0;
  #interval = BUSY_INTERVAL;
  /** What is posted in a frame arrives when it has been painted. */
  #painted = new MessageChannel();

  /** @param {() => void} draw  draws everything that has changed */
  constructor(draw) {
    this.#draw = draw;
    this.#painted.port1.onmessage = () => {
      const took = performance.now() - this.#drawnAt;
      this.#interval = Math.min(LONGEST_INTERVAL, Math.max(BUSY_INTERVAL, took / DRAWING_SHARE));
    };
  }

  /** Draw soon. */
  changed() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const frame = () => {
      this.now();
      this.#painted.port2.postMessage(null);
    };
    const wait = this.#drawnAt + this.#interval - performance.now();
    if (wait > 0) setTimeout(() => requestAnimationFrame(frame), wait);
    else requestAnimationFrame(frame);
  }

  /** Draw at once. */
  now() {
    this.#scheduled = false;
    this.#drawnAt = performance.now();
    this.#draw();
  }
}

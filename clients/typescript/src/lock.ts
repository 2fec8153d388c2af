/** Waits for a Web Lock; returns a function that releases it. Rejects when the signal of the options aborts. */
export function acquire(name: string, options: LockOptions, onLost?: () => void): Promise<() => void> {
  return new Promise((resolve, reject) => {
    let held = false;
    const hold = () =>
      new Promise<void>((release) => {
        held = true;
        resolve(release);
      });
    navigator.locks.request(name, options, hold).catch((error) => (held ? onLost?.() : reject(error)));
  });
}

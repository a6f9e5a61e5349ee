/**
 * The clusters as this page knows them. The server pushes the list over a websocket; only while there
 * is none it is asked for now and then. State is set first and `changed` emitted after; nothing here
 * draws anything.
 */
import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';
import { type ClusterApi, EVENTS_PATH, readClusters } from './clusterApi';
import { ClusterFeed } from './clusterFeed';
import { JsonSocket } from './jsonSocket';
import type {
  ICellspanModel,
  ICluster,
  ILogEntry,
  IStartRequest,
  IViewInfo,
  Link,
  ViewColumns
} from './tokens';

const POLL_INTERVAL_MS = 3_000;
const POLL_LONGEST_MS = 30_000;

export class CellspanModel implements ICellspanModel {
  constructor(private readonly api: ClusterApi) {
    this.socket = new JsonSocket(api.settings, EVENTS_PATH);
    this.socket.received.connect(this.onMessage);
    this.socket.linked.connect(this.onLinked);
    this.poll = new Poll({
      auto: false,
      factory: () => this.refresh(),
      frequency: { interval: POLL_INTERVAL_MS, backoff: true, max: POLL_LONGEST_MS },
      name: '@cellspan/labextension:poll',
      standby: 'when-hidden'
    });
  }

  get clusters(): readonly ICluster[] {
    return this._clusters;
  }

  get views(): readonly IViewInfo[] {
    return this._views;
  }

  get link(): Link {
    return this._link;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get disposed(): ISignal<this, void> {
    return this._disposed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  find(name: string): ICluster | undefined {
    return this._clusters.find(cluster => cluster.name === name);
  }

  async start(request: IStartRequest): Promise<string> {
    const cluster = await this.api.start(request);
    this.put(cluster);
    return cluster.name;
  }

  started(name: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = (): void => {
        const cluster = this.find(name);
        if (cluster?.state === 'starting' && !this._isDisposed) {
          return;
        }
        this._changed.disconnect(check);
        if (cluster?.state === 'running') {
          resolve();
        } else {
          reject(new Error(cluster?.reason ?? `The start of cluster '${name}' was given up.`));
        }
      };
      this._changed.connect(check);
      check();
    });
  }

  async scale(name: string, workers: number): Promise<void> {
    this.put(await this.api.scale(name, workers));
  }

  async stop(name: string): Promise<void> {
    const cluster = this.find(name);
    if (cluster && cluster.state !== 'failed') {
      this.put({ ...cluster, state: 'stopping' });
    }
    try {
      await this.api.stop(name);
    } finally {
      await this.refresh();
    }
  }

  logs(name: string, source: string | null, lines: number): Promise<ILogEntry[]> {
    return this.api.logs(name, source, lines);
  }

  viewItem(view: string): Promise<unknown> {
    return this.api.viewItem(view);
  }

  watch(cluster: string, view: string, listener: (columns: ViewColumns) => void): IDisposable {
    let feed = this.feeds.get(cluster);
    if (!feed) {
      feed = new ClusterFeed(this.api.settings, cluster);
      this.feeds.set(cluster, feed);
    }
    return feed.subscribe(view, listener);
  }

  async refresh(): Promise<void> {
    try {
      this._clusters = await this.api.list();
    } catch (reason) {
      if (!this.socket.isOpen) {
        this._link = 'lost';
        this._changed.emit();
      }
      throw reason;
    }
    if (!this.socket.isOpen) {
      this._link = 'polling';
    }
    this._changed.emit();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this.poll.dispose();
    this.socket.dispose();
    for (const feed of this.feeds.values()) {
      feed.dispose();
    }
    this._changed.emit();
    this._disposed.emit();
    Signal.clearData(this);
  }

  private put(cluster: ICluster): void {
    const others = this._clusters.filter(other => other.name !== cluster.name);
    this._clusters = [...others, cluster].sort((a, b) => (a.name < b.name ? -1 : 1));
    this._changed.emit();
  }

  private readonly onMessage = (_: JsonSocket, message: unknown): void => {
    const clusters = readClusters(message);
    if (clusters) {
      this._clusters = clusters;
      this._link = 'live';
      this._changed.emit();
    }
  };

  private readonly onLinked = (_: JsonSocket, isOpen: boolean): void => {
    if (!isOpen) {
      void this.poll.start();
      return;
    }
    void this.poll.stop();
    if (this._views.length === 0) {
      this.loadViews().catch((reason: unknown) => {
        console.warn('cellspan: the views could not be listed.', reason);
      });
    }
  };

  private async loadViews(): Promise<void> {
    this._views = await this.api.views();
    this._changed.emit();
  }

  private _clusters: readonly ICluster[] = [];
  private _views: readonly IViewInfo[] = [];
  private _link: Link = 'connecting';
  private _isDisposed = false;
  private readonly socket: JsonSocket;
  private readonly poll: Poll;
  private readonly feeds = new Map<string, ClusterFeed>();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _disposed = new Signal<this, void>(this);
}

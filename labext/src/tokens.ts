/**
 * The words of the front end: what a cluster is to the browser, and the tokens under which the
 * plugins find each other. Types only, and no behaviour.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Token } from '@lumino/coreutils';
import type { IDisposable, IObservableDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';

export type ClusterState = 'starting' | 'running' | 'stopping' | 'failed';

export type Lifetime = 'kernel' | 'server' | 'detached';

/** Tasks of a whole cluster. `waiting` are those that have not begun, for whatever reason. */
export interface ITaskCounts {
  readonly done: number;
  readonly running: number;
  readonly waiting: number;
  readonly failed: number;
}

/** One cluster of this user, as the server last saw it. */
export interface ICluster {
  readonly name: string;
  /** Null while it starts. A cluster that comes back under its name has another one. */
  readonly id: string | null;
  readonly state: ClusterState;
  /** Why it failed, or what is wrong with it. */
  readonly reason: string | null;
  /** Workers that are there, and how many there shall be. */
  readonly workers: number;
  readonly wanted: number;
  /** Cores per worker; null for all of a machine. */
  readonly cores: number | null;
  /** Tasks that can run at once. */
  readonly slots: number;
  /** Of all workers together. */
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  readonly tasks: ITaskCounts;
  readonly lifetime: Lifetime;
  readonly idleTimeoutS: number | null;
  readonly interpreter: string | null;
  /** Whether its scheduler answered lately. */
  readonly answers: boolean;
}

/** A cluster to start. What is null is left to the server: a free name, all cores, all memory. */
export interface IStartRequest {
  readonly name: string | null;
  readonly workers: number;
  readonly cores: number | null;
  readonly memoryBytes: number | null;
  readonly lifetime: Lifetime;
  readonly idleTimeoutS: number | null;
  readonly kernelName: string | null;
  readonly kernelId: string | null;
}

export interface ILogEntry {
  /** The name of a worker, or 'scheduler'. */
  readonly source: string;
  readonly stream: 'stdout' | 'stderr' | 'log';
  /** Unix time in seconds. */
  readonly time: number;
  readonly text: string;
}

/** A kind of diagnostic picture. */
export interface IViewInfo {
  readonly name: string;
  readonly title: string;
}

/** The columns of a view's data sources: source name, column name, values. */
export type ViewColumns = Readonly<Record<string, Readonly<Record<string, readonly unknown[]>>>>;

/**
 * How the list gets here: pushed ('live'), asked for now and then because there is no socket
 * ('polling'), or not at all ('lost').
 */
export type Link = 'connecting' | 'live' | 'polling' | 'lost';

/** All clusters of this user, and what can be done to them. */
export interface ICellspanModel extends IObservableDisposable {
  /** By name. */
  readonly clusters: readonly ICluster[];
  /** The kinds of views that there are; empty until they are known. */
  readonly views: readonly IViewInfo[];
  readonly link: Link;
  /** Emitted after any of the above has changed. */
  readonly changed: ISignal<ICellspanModel, void>;
  find(name: string): ICluster | undefined;
  /** Resolves when the start has begun, to the name. Rejects with an ApiError. */
  start(request: IStartRequest): Promise<string>;
  /** Resolves when a cluster whose start has begun is running; rejects with the reason if it fails. */
  started(name: string): Promise<void>;
  scale(name: string, workers: number): Promise<void>;
  /** Stop a cluster, or dismiss one that failed. Resolves when that is done. */
  stop(name: string): Promise<void>;
  logs(name: string, source: string | null, lines: number): Promise<ILogEntry[]>;
  /** The figure of a view, as Bokeh's json_item. */
  viewItem(view: string): Promise<unknown>;
  /** Be given the columns of a view of a cluster, now and with each snapshot, until disposed. */
  watch(cluster: string, view: string, listener: (columns: ViewColumns) => void): IDisposable;
  /** Look now, without waiting for news. */
  refresh(): Promise<void>;
}

export const ICellspanModel = new Token<ICellspanModel>(
  '@cellspan/labextension:ICellspanModel',
  'All cellspan clusters of this user, and what can be done to them.'
);

/** The side panel, for those who want it to show something. */
export interface ICellspanPanel {
  /** Open the form for a new cluster. */
  openForm(): void;
}

export const ICellspanPanel = new Token<ICellspanPanel>(
  '@cellspan/labextension:ICellspanPanel',
  'The side panel of cellspan.'
);

/** The translator's domain of all texts of this extension. */
export const DOMAIN = 'cellspan';

export type Translations = TranslationBundle;

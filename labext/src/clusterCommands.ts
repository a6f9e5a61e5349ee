/** The commands that start, scale and stop clusters. Each asks for what its arguments leave open. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Dialog, InputDialog, Notification, showDialog } from '@jupyterlab/apputils';
import { closeIcon, refreshIcon, stopIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { messageOf } from './clusterApi';
import { CommandIds } from './commandIds';
import { describeArgs } from './describeArgs';
import { formatCount } from './format';
import { cellspanIcon, scaleIcon } from './icons';
import { clusterArgs, pickCluster } from './pickCluster';
import type { ICellspanModel, ICluster, IStartRequest, Translations } from './tokens';

/** Notifications cut what is longer, without a sign. */
const LONGEST_MESSAGE = 135;

export function addClusterCommands(
  app: JupyterFrontEnd,
  model: ICellspanModel,
  trans: Translations
): void {
  addStart(app, model, trans);
  addScale(app, model, trans);
  addStop(app, model, trans);
  app.commands.addCommand(CommandIds.refresh, {
    label: trans.__('Refresh Clusters'),
    caption: trans.__('Look for clusters now'),
    icon: refreshIcon,
    describedBy: describeArgs({}),
    execute: () => model.refresh()
  });
}

function addStart(app: JupyterFrontEnd, model: ICellspanModel, trans: Translations): void {
  app.commands.addCommand(CommandIds.start, {
    label: trans.__('Start a Cluster'),
    caption: trans.__('Start a cluster with the given arguments, without asking'),
    icon: cellspanIcon,
    describedBy: describeArgs({
      name: { type: ['string', 'null'], description: trans.__('Its name; free ones are taken') },
      workers: { type: 'integer', minimum: 1 },
      cores: { type: ['integer', 'null'], description: trans.__('Per worker; null for all') },
      memoryBytes: { type: ['integer', 'null'], description: trans.__('Per worker') },
      lifetime: { enum: ['kernel', 'server', 'detached'] },
      idleTimeoutS: { type: ['number', 'null'] },
      kernelName: { type: ['string', 'null'], description: trans.__('Whose Python runs it') },
      kernelId: { type: ['string', 'null'], description: trans.__('The kernel to end with') }
    }),
    execute: async args => {
      const name = await model.start(toRequest(args));
      Notification.promise(
        model.started(name).then(() => null),
        {
          pending: { message: trans.__('Starting cluster “%1”…', name) },
          success: {
            message: () => trans.__('Cluster “%1” is running.', name),
            options: { autoClose: 3000 }
          },
          error: { message: reason => cut(trans.__('“%1”: %2', name, messageOf(reason))) }
        }
      );
      return name;
    }
  });
}

function toRequest(args: ReadonlyPartialJSONObject): IStartRequest {
  const given = args as Partial<IStartRequest>;
  return {
    name: given.name ?? null,
    workers: given.workers ?? 1,
    cores: given.cores ?? null,
    memoryBytes: given.memoryBytes ?? null,
    lifetime: given.lifetime ?? 'server',
    idleTimeoutS: given.idleTimeoutS ?? null,
    kernelName: given.kernelName ?? null,
    kernelId: given.kernelId ?? null
  };
}

function addScale(app: JupyterFrontEnd, model: ICellspanModel, trans: Translations): void {
  app.commands.addCommand(CommandIds.scale, {
    label: trans.__('Scale Cluster…'),
    caption: trans.__('Change the number of workers'),
    icon: scaleIcon,
    describedBy: describeArgs({
      ...clusterArgs(trans),
      workers: { type: 'integer', minimum: 1, description: trans.__('Asked for when missing') }
    }),
    isEnabled: () => model.clusters.some(cluster => cluster.state === 'running'),
    execute: async args => {
      const title = trans.__('Scale which cluster?');
      const cluster = await pickCluster(app, model, args, ['running'], title);
      if (!cluster) {
        return;
      }
      if (typeof args.workers === 'number') {
        await model.scale(cluster.name, args.workers); // whoever gave the number shows the error
        return;
      }
      const answer = await InputDialog.getNumber({
        title: trans.__('Workers of cluster “%1”', cluster.name),
        label: trans.__('Number of workers'),
        value: cluster.wanted
      });
      if (answer.button.accept && answer.value !== null) {
        await model.scale(cluster.name, answer.value).catch((reason: unknown) => {
          Notification.error(cut(messageOf(reason)));
        });
      }
    }
  });
}

function addStop(app: JupyterFrontEnd, model: ICellspanModel, trans: Translations): void {
  app.commands.addCommand(CommandIds.stop, {
    label: trans.__('Stop Cluster…'),
    caption: trans.__('Stop this cluster'),
    icon: stopIcon,
    describedBy: describeArgs({
      ...clusterArgs(trans),
      isConfirmed: { type: 'boolean', description: trans.__('Do not ask') }
    }),
    isEnabled: args =>
      typeof args.cluster !== 'string' || model.find(args.cluster)?.state !== 'stopping',
    execute: async args => {
      const states = ['starting', 'running'] as const;
      const title = trans.__('Stop which cluster?');
      const cluster = await pickCluster(app, model, args, states, title);
      if (!cluster || !(args.isConfirmed === true || (await confirmStop(cluster, trans)))) {
        return;
      }
      const { name } = cluster;
      const stopped = model.stop(name).then(() => null);
      Notification.promise(stopped, {
        pending: { message: trans.__('Stopping cluster “%1”…', name) },
        success: {
          message: () => trans.__('Cluster “%1” has stopped.', name),
          options: { autoClose: 3000 }
        },
        error: { message: reason => cut(trans.__('“%1”: %2', name, messageOf(reason))) }
      });
      await stopped.catch(() => null); // the notification says it
    }
  });
  app.commands.addCommand(CommandIds.dismiss, {
    label: trans.__('Dismiss'),
    caption: trans.__('Remove this failed cluster from the list'),
    icon: closeIcon,
    describedBy: describeArgs(clusterArgs(trans)),
    isEnabled: () => model.clusters.some(cluster => cluster.state === 'failed'),
    execute: async args => {
      const title = trans.__('Dismiss which cluster?');
      const cluster = await pickCluster(app, model, args, ['failed'], title);
      if (cluster) {
        await model.stop(cluster.name).catch((reason: unknown) => {
          Notification.error(cut(messageOf(reason)));
        });
      }
    }
  });
}

async function confirmStop(cluster: ICluster, trans: Translations): Promise<boolean> {
  const { running, waiting } = cluster.tasks;
  const open = running + waiting;
  const loss =
    open > 0
      ? trans._n(
          '%2 unfinished task and all results on it are lost.',
          '%2 unfinished tasks and all results on it are lost.',
          open,
          formatCount(open)
        )
      : trans.__('All results on it are lost.');
  const result = await showDialog({
    title: trans.__('Stop cluster “%1”?', cluster.name),
    body: loss,
    buttons: [
      Dialog.cancelButton({ label: trans.__('Keep It') }),
      Dialog.warnButton({ label: trans.__('Stop') })
    ],
    defaultButton: 0
  });
  return result.button.accept;
}

function cut(text: string): string {
  const line = text.replace(/\s+/g, ' ');
  return line.length <= LONGEST_MESSAGE ? line : `${line.slice(0, LONGEST_MESSAGE - 1)}…`;
}

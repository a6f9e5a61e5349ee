/** A button that is a command: label, explanation, icon and whether it can be used all come from it. */
import type { JSX } from 'react';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { LabIcon } from '@jupyterlab/ui-components';

/** Coloured as JupyterLab colours its own. */
export const MAIN_BUTTON = 'cellspan-mod-main jp-mod-styled jp-mod-accept';

export interface ICommandButtonProps {
  readonly commands: CommandRegistry;
  readonly command: string;
  readonly args: ReadonlyPartialJSONObject;
  /** Shown instead of the command's label, which then is the name for screen readers. */
  readonly label?: string;
  readonly isIconOnly?: boolean;
  /** The one button of its surroundings that is meant first. */
  readonly isMain?: boolean;
  readonly className?: string;
}

export function CommandButton(props: ICommandButtonProps): JSX.Element | null {
  const { commands, command, args } = props;
  if (!commands.hasCommand(command) || !commands.isVisible(command, args)) {
    return null;
  }
  const name = commands.label(command, args);
  const caption = commands.caption(command, args) || name;
  const icon = commands.icon(command, args);
  const isEnabled = commands.isEnabled(command, args);
  return (
    <button
      type="button"
      className={`cellspan-Button ${props.isMain ? MAIN_BUTTON : ''} ${props.className ?? ''}`}
      // Not `disabled`: it stays reachable by keyboard, so that its explanation can be read.
      aria-disabled={!isEnabled}
      aria-label={isEnabled ? name : `${name}. ${caption}`}
      title={caption}
      data-command={command}
      onClick={() => {
        if (isEnabled) {
          // A command shows its own errors.
          commands.execute(command, args).catch((reason: unknown) => {
            console.error(reason);
          });
        }
      }}
    >
      {icon instanceof LabIcon && <icon.react tag="span" className="cellspan-Button-icon" />}
      {!props.isIconOnly && <span>{props.label ?? name}</span>}
    </button>
  );
}
